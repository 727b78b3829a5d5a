//! Debian's packages, for what only they bring.

use crate::project::Project;
use anyhow::{Context, Result, bail};
use std::path::Path;
use xshell::cmd;

/// Installs packages; only root on Debian gets them, anybody else is told how.
pub fn install(project: &Project, what: &str, packages: &[&str]) -> Result<()> {
    let sh = &project.shell;
    let how = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    let root = cmd!(sh, "id -u").quiet().read()? == "0";
    if !root || !Path::new("/usr/bin/apt-get").exists() {
        bail!("{what} is missing; on Debian, as root: {how}");
    }
    let apt = |arguments: &[&str]| {
        cmd!(sh, "apt-get -qq {arguments...}").env("DEBIAN_FRONTEND", "noninteractive").run()
    };
    apt(&["update"])?;
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    apt(&install).with_context(|| format!("could not install {what}: {how}"))
}
