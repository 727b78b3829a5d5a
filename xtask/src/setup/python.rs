//! The Python environment that set-up installs into.

use super::step::once;
use crate::project::Project;
use anyhow::{Context, Result, bail};
use std::path::Path;
use xshell::cmd;

const HOW_TO_GET_PYTHON: &str = "install Python 3.10 or newer with venv (Debian: apt-get install python3-venv), or name one in PYTHON";

/// Makes the environment, from `PYTHON` or `python3`; what is returned tells it from another one.
pub fn environment(project: &Project) -> Result<String> {
    let sh = &project.shell;
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let version = cmd!(sh, "{python} -c 'import sys; print(*sys.version_info[:3], sep=\".\")'")
        .quiet()
        .read()
        .with_context(|| format!("cannot run {python}; {HOW_TO_GET_PYTHON}"))?;
    let minor = version.strip_prefix("3.").and_then(|v| v.split('.').next()?.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < 10) {
        bail!("{python} is Python {version}; {HOW_TO_GET_PYTHON}");
    }
    let folder = project.mlx.join("venv");
    // Scripts in an environment name its absolute path, so a moved one is made anew.
    let identity = format!("Python {version}\n{}", folder.display());
    once(project, "python", &identity, &project.python(), || {
        sh.remove_path(&folder)?;
        cmd!(sh, "{python} -m venv {folder}").run().context(HOW_TO_GET_PYTHON)
    })?;
    Ok(identity)
}

/// Installs `packages` (with exact versions) into the environment, with all they depend on.
pub fn install(project: &Project, packages: &[&str]) -> Result<()> {
    pip(project, &["install"], packages)
}

/// Unpacks the wheels of `packages` (with exact versions) into `folder`, without what they depend on.
pub fn unpack(project: &Project, packages: &[&str], folder: &Path) -> Result<()> {
    let sh = &project.shell;
    // pip leaves existing files alone, so it gets a new folder; only a complete one takes the name.
    let partial = folder.with_extension("partial");
    sh.remove_path(&partial)?;
    let to = partial.to_string_lossy();
    pip(project, &["install", "--no-deps", "--no-compile", "--target", &to], packages)?;
    sh.remove_path(folder)?;
    std::fs::rename(&partial, folder)?;
    Ok(())
}

fn pip(project: &Project, command: &[&str], packages: &[&str]) -> Result<()> {
    let python = project.python();
    let quiet = ["--quiet", "--no-input", "--disable-pip-version-check"];
    cmd!(project.shell, "{python} -m pip {command...} {quiet...} {packages...}").run().with_context(
        || {
            format!(
                "pip could not install {}; set-up needs the Python package index once",
                packages.join(", ")
            )
        },
    )
}
