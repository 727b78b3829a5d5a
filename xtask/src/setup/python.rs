//! The Python environments that set-up installs into.

use super::step::once;
use crate::packages::Missing;
use crate::project::Project;
use anyhow::{Context, Result};
use std::path::Path;
use xshell::cmd;

const HOW_TO_GET_PYTHON: &str = "install Python 3.10 or newer with venv (Debian: apt-get install python3-venv), or name one in PYTHON";

/// Makes the environment `folder` from `PYTHON` or `python3`, as the step `name` of set-up; what is returned tells it
/// from another one.
pub fn environment(project: &Project, name: &str, folder: &Path) -> Result<String> {
    let sh = &project.shell;
    let python = sh.var("PYTHON").unwrap_or_else(|_| "python3".into());
    let missing = |what: String| Missing::error(what, HOW_TO_GET_PYTHON);
    let version =
        cmd!(sh, "{python} -c 'import sys, venv; print(*sys.version_info[:3], sep=\".\")'")
            .quiet()
            .ignore_stderr()
            .read()
            .map_err(|_| missing(format!("{python} with venv")))?;
    let minor = version.strip_prefix("3.").and_then(|v| v.split('.').next()?.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < 10) {
        return Err(missing(format!("a newer Python than {python} ({version})")));
    }
    // Scripts in an environment name its absolute path, so a moved one is made anew.
    let identity = format!("Python {version}\n{}", folder.display());
    once(project, name, &identity, &folder.join("bin/python"), || {
        sh.remove_path(folder)?;
        // Debian's Python has the module venv, but makes no environment without the package python3-venv.
        cmd!(sh, "{python} -m venv {folder}")
            .run()
            .map_err(|_| missing(format!("venv of {python}")))
    })?;
    Ok(identity)
}

/// The requirement for MLX's Python package in `version`, with its CPU backend where there is no Metal.
pub fn mlx(version: &str) -> String {
    let backend = if cfg!(target_os = "linux") { "[cpu]" } else { "" };
    format!("mlx{backend}=={version}")
}

/// Installs `packages` (with exact versions) into the environment of `python`, with all they depend on.
pub fn install(project: &Project, python: &Path, packages: &[String]) -> Result<()> {
    pip(project, python, &["install"], packages)
}

/// The same without what they depend on.
pub fn install_alone(project: &Project, python: &Path, packages: &[String]) -> Result<()> {
    pip(project, python, &["install", "--no-deps"], packages)
}

/// Unpacks the wheels of `packages` (with exact versions) into `folder`, without what they depend on.
pub fn unpack(project: &Project, packages: &[String], folder: &Path) -> Result<()> {
    let sh = &project.shell;
    // pip leaves existing files alone, so it gets a new folder; only a complete one takes the name.
    let partial = folder.with_extension("partial");
    sh.remove_path(&partial)?;
    let to = partial.to_string_lossy();
    let command = ["install", "--no-deps", "--no-compile", "--target", &to];
    pip(project, &project.python(), &command, packages)?;
    sh.remove_path(folder)?;
    std::fs::rename(&partial, folder)?;
    Ok(())
}

fn pip(project: &Project, python: &Path, command: &[&str], packages: &[String]) -> Result<()> {
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
