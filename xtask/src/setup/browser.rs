//! A browser for the tests of the report's page.

use crate::packages::{self, Missing};
use crate::project::Project;
use anyhow::{Result, bail};
use std::path::Path;
use xshell::cmd;

/// Where the tests look for one (`tests/browser/chromium.rs`).
const PROGRAMS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const MACOS: [&str; 2] = [
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

/// Makes sure of Chromium; on Debian, root gets it installed.
pub fn install(project: &Project) -> Result<()> {
    if there(project) {
        return Ok(());
    }
    if cfg!(target_os = "macos") {
        return Err(Missing::error(
            "Chrome or Chromium",
            "put it into /Applications, or name one in CHROMIUM",
        ));
    }
    packages::install(project, "Chromium (or CHROMIUM with the path of one)", &["chromium"])?;
    if !there(project) {
        bail!("Debian's package chromium did not bring the program");
    }
    Ok(())
}

fn there(project: &Project) -> bool {
    let sh = &project.shell;
    let runs = |program: &str| {
        cmd!(sh, "{program} --version").quiet().ignore_stdout().ignore_stderr().run().is_ok()
    };
    match sh.var("CHROMIUM") {
        Ok(given) => Path::new(&given).exists(),
        Err(_) => PROGRAMS.iter().any(|p| runs(p)) || MACOS.iter().any(|p| Path::new(p).exists()),
    }
}
