//! `cargo xtask oracle`: the real mlx-lm that the test vectors come from, in a Python environment of its own.
//!
//! It runs on another MLX than the one that is linked, so it does not share the environment of the engines.

use crate::project::Project;
use crate::setup::python;
use crate::setup::step::once;
use crate::versions::{MLX_LM, MLX_ORACLE, MLX_VLM};
use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What mlx-vlm's classes need here; it is installed without the rest of what it names.
const FOR_TOWERS: [&str; 2] = ["pillow==12.0.0", "requests==2.32.5"];

/// Makes the environment; returns its interpreter.
///
/// # Errors
/// [`Missing`](crate::packages::Missing) without Python.
pub fn environment(project: &Project) -> Result<PathBuf> {
    let folder = project.target.join("oracle/venv");
    let python = folder.join("bin/python");
    let identity = python::environment(project, "oracle's Python", &folder)?;
    let mut packages = vec![python::mlx(MLX_ORACLE), format!("mlx-lm=={MLX_LM}")];
    packages.extend(FOR_TOWERS.map(str::to_owned));
    let alone = [format!("mlx-vlm=={MLX_VLM}")];
    let inputs = format!("{}\n{}\n{identity}", packages.join("\n"), alone[0]);
    once(project, "oracle", &inputs, &python, || {
        python::install(project, &python, &packages)?;
        python::install_alone(project, &python, &alone)
    })?;
    Ok(python)
}

/// Runs a script of `tests/oracle` with its output going where this program's goes.
pub fn run(project: &Project, arguments: &[String]) -> Result<()> {
    let status = command(project, "oracle.py")?.args(arguments).status()?;
    ensure!(status.success(), "tests/oracle/oracle.py: {status}");
    Ok(())
}

/// Runs `tests/oracle/vectors.py` and returns what it prints.
pub fn vectors(project: &Project, arguments: &[&OsStr]) -> Result<String> {
    let output = command(project, "vectors.py")?.args(arguments).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Makes a few rows of every vector file anew and compares; returns how many are as they are stored.
pub fn sample(project: &Project) -> Result<u64> {
    compare(project, "sample")
}

/// The same with every row.
pub fn all(project: &Project) -> Result<u64> {
    compare(project, "all")
}

fn compare(project: &Project, which: &str) -> Result<u64> {
    let mut child = command(project, "vectors.py")?.arg(which).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("the oracle has no output")?;
    let mut last = String::new();
    for line in BufReader::new(output).lines() {
        last = line?;
        println!("{last}");
    }
    let status = child.wait()?;
    ensure!(status.success(), "stored vectors are not what the oracle answers: {status}");
    compared(&last).with_context(|| format!("the oracle ended with: {last}"))
}

/// The number in `8 compared, 0 differ`.
fn compared(line: &str) -> Option<u64> {
    line.strip_suffix(" compared, 0 differ")?.parse().ok()
}

fn command(project: &Project, script: &str) -> Result<Command> {
    let python = environment(project)?;
    let mut command = Command::new(python);
    command.arg(project.shell.current_dir().join("tests/oracle").join(script));
    // Python's caches do not belong into the source folder.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::compared;

    #[test]
    fn the_closing_line_is_counted() {
        assert_eq!(compared("8 compared, 0 differ"), Some(8));
        assert_eq!(compared("8 compared, 1 differ"), None);
    }
}
