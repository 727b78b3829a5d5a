//! A step of the set-up that is done once.

use crate::project::Project;
use anyhow::{Context, Result};
use std::fs;
use std::time::Instant;

/// Does `work` unless it was done before with the same `inputs`.
///
/// What was done is recorded only after `work` has succeeded, so an interrupted step is done again.
pub fn once(
    project: &Project,
    name: &str,
    inputs: &str,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let stamps = project.mlx.join("steps");
    let stamp = stamps.join(name);
    if fs::read_to_string(&stamp).is_ok_and(|done| done == inputs) {
        eprintln!("{name}: up to date");
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
