//! A step of the set-up that is done once.

use crate::project::Project;
use anyhow::{Context, Result};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::Instant;

/// Does `work`, which makes `output`, unless it was done before with the same `inputs` (one on each line).
///
/// What was done is recorded only after `work` has succeeded, so an interrupted step is done again.
pub fn once(
    project: &Project,
    name: &str,
    inputs: &str,
    output: &Path,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let stamps = project.mlx.join("steps");
    let stamp = stamps.join(name);
    if output.exists() && fs::read_to_string(&stamp).is_ok_and(|done| done == inputs) {
        return Ok(());
    }
    fs::create_dir_all(&stamps)?;
    if stamp.exists() {
        fs::remove_file(&stamp)?;
    }
    eprintln!("{name}: {}", inputs.replace('\n', ", "));
    let start = Instant::now();
    work().with_context(|| format!("set-up of {name} failed"))?;
    fs::write(&stamp, inputs)?;
    eprintln!("{name}: done in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// A short fingerprint of a file that is built into xtask, for a step's inputs.
pub fn fingerprint(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
