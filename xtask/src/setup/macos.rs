//! What building MLX takes on macOS.

use crate::packages::Missing;
use crate::project::Project;
use anyhow::{Result, bail};
use xshell::cmd;

/// Checks for cmake and the Metal compiler, with which `mlx-sys` builds MLX.
pub fn libraries(project: &Project) -> Result<()> {
    let sh = &project.shell;
    if cfg!(not(target_os = "macos")) {
        bail!("MLX runs on macOS and Linux only; mlxplan without the feature `mlx` runs here");
    }
    let mut missing = Vec::new();
    if cmd!(sh, "cmake --version").quiet().ignore_stderr().read().is_err() {
        missing.push("cmake: brew install cmake");
    }
    if cmd!(sh, "xcrun --find metal").quiet().ignore_stderr().read().is_err() {
        missing.push(
            "the Metal compiler: install Xcode, then run `sudo xcode-select -s /Applications/Xcode.app` \
             and `xcodebuild -downloadComponent MetalToolchain`",
        );
    }
    if !missing.is_empty() {
        return Err(Missing::error("what MLX is built with", missing.join("; ")));
    }
    eprintln!("cmake and the Metal compiler are there");
    Ok(())
}
