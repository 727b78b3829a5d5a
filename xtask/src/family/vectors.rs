//! The vectors of a new family, one line each in `tests/data`.

use crate::oracle;
use crate::project::Project;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;

/// Adds the oracle's answers for `config`, and `small` as a case for logits, unless there are vectors of that name.
pub fn add(project: &Project, name: &str, config: &Path, small: &Path) -> Result<()> {
    let row = || {
        let answer =
            oracle::vectors(project, &["family".as_ref(), name.as_ref(), config.as_os_str()])
                .context("the oracle has no vectors for this configuration")?;
        // As compact as the other rows of the file.
        Ok(serde_json::from_str::<Value>(&answer)?.to_string())
    };
    insert(project, "small_families.json", &format!("{{\"name\":\"{name}\","), "\n]}", row)?;
    let case = || {
        let config: Value = serde_json::from_str(&project.shell.read_file(small)?)?;
        Ok(format!("{{\"name\": \"{name}\", \"config\": {config}}}"))
    };
    insert(project, "engine_cases.json", &format!("{{\"name\": \"{name}\","), "\n]", case)
}

/// Adds a line before the `end` of a list, unless one starts with `start`.
fn insert(
    project: &Project,
    file: &str,
    start: &str,
    end: &str,
    line: impl FnOnce() -> Result<String>,
) -> Result<()> {
    let path = project.shell.current_dir().join("tests/data").join(file);
    let text = project.shell.read_file(&path)?;
    if text.lines().any(|line| line.starts_with(start)) {
        return Ok(());
    }
    let at = text.rfind(end).with_context(|| format!("{file} holds no list"))?;
    let line = line()?;
    project.shell.write_file(&path, format!("{},\n{line}{}", &text[..at], &text[at..]))?;
    eprintln!("{}: added {start}…", path.display());
    Ok(())
}
