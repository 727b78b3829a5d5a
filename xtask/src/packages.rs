//! What a machine lacks: Debian's packages for root who allows it, advice for everybody else.

use crate::project::Project;
use anyhow::{Context, Result};
use std::fmt;
use std::path::Path;
use xshell::cmd;

/// Something that is not on this machine. A tier of checks leaves out what needs it, and says so.
#[derive(Debug)]
pub struct Missing {
    /// What is not there.
    pub what: String,
    /// How to get it.
    pub how: String,
}

impl Missing {
    /// As an error.
    pub fn error(what: impl Into<String>, how: impl Into<String>) -> anyhow::Error {
        Self { what: what.into(), how: how.into() }.into()
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing: {}", self.what, self.how)
    }
}

impl std::error::Error for Missing {}

/// Installs Debian's `packages` where this is root on Debian and `--no-system-packages` is not given.
///
/// # Errors
/// [`Missing`] where they are not to be installed, with the command that does it.
pub fn install(project: &Project, what: &str, packages: &[&str]) -> Result<()> {
    let sh = &project.shell;
    let how = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    let root = cmd!(sh, "id -u").quiet().read()? == "0";
    if !project.system_packages || !root || !Path::new("/usr/bin/apt-get").exists() {
        return Err(Missing::error(what, format!("on Debian, as root: {how}")));
    }
    eprintln!("as root: {how} (--no-system-packages prevents it)");
    let apt = |arguments: &[&str]| {
        cmd!(sh, "apt-get -qq {arguments...}").env("DEBIAN_FRONTEND", "noninteractive").run()
    };
    apt(&["update"])?;
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    apt(&install).with_context(|| format!("could not install {what}: {how}"))
}
