//! `cargo xtask fit`: fits the speed laws on the published measurements.

use crate::project::Project;
use anyhow::Result;
use xshell::cmd;

/// Runs the example `fit`, which takes seconds once the library is built: writes `data/coefficients.json` and `data/cross_validation.csv`, or with `check`
/// fails when they are not what it would write.
pub fn run(project: &Project, check: bool) -> Result<()> {
    let sh = &project.shell;
    let check = check.then_some("--check");
    Ok(cmd!(sh, "cargo run --quiet --example fit -- {check...}").run()?)
}
