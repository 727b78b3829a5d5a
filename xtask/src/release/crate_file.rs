//! The crate: its size, and a build of what it holds.

use super::Release;
use super::place::Place;
use anyhow::{Result, ensure};
use std::fs;
use xshell::cmd;

/// The largest that crates.io takes, bytes.
const LARGEST: u64 = 10_000_000;

/// Packs the crate, unpacks it in a clean folder and builds the planner from it; returns how much was tried.
pub fn run(release: &Release<'_>) -> Result<u64> {
    let (sh, project) = (&release.project.shell, release.project);
    let target = project.target.join("crate");
    cmd!(sh, "cargo package --package mlxplan --allow-dirty --no-verify --target-dir {target}")
        .run()?;
    let name = format!("mlxplan-{}", release.version);
    let file = target.join("package").join(format!("{name}.crate"));
    let bytes = fs::metadata(&file)?.len();
    ensure!(bytes < LARGEST, "{} has {bytes} bytes, more than crates.io takes", file.display());
    fs::copy(&file, release.out.join(format!("{name}.crate")))?;
    let place = Place::new("crate")?;
    let folder = place.folder();
    cmd!(sh, "tar -xzf {file} -C {folder}").run()?;
    let sources = folder.join(&name);
    let program = {
        let _there = sh.push_dir(&sources);
        // The dependencies are those of the sources here, so that they need not be built twice.
        release.build(&project.target, &[])?
    };
    let tried = folder.join("mlxplan");
    fs::copy(&program, &tried)?;
    // What it answers is in it.
    fs::remove_dir_all(&sources)?;
    place.expect(&tried, &["--version"], (0, &release.version))?;
    place.expect(
        &tried,
        &["recommend", "--model", "qwen3-8b-4bit", "--mac", "m4max-40/64"],
        (0, "tok/s"),
    )?;
    Ok(2)
}
