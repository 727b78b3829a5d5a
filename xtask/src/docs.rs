//! Short tasks: `cargo xtask docs`, the reference of the command line and the man pages; `cargo xtask profiles`.

use crate::project::Project;
use anyhow::Result;
use xshell::cmd;

/// Runs the example `reference`: writes `docs/reference.md`, and man pages under `target/man`.
pub fn run(project: &Project) -> Result<()> {
    let sh = &project.shell;
    Ok(cmd!(sh, "cargo run --quiet --example reference").run()?)
}

/// Checks the profiles in `calibration/`.
pub fn profiles(project: &Project) -> Result<()> {
    Ok(cmd!(project.shell, "cargo test --quiet --test records profiles::").run()?)
}
