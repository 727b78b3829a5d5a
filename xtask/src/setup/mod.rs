//! `cargo xtask setup`: what MLX needs on this machine.
//!
//! On Linux, MLX comes from the package registries. On macOS the crate `mlx-sys` builds MLX itself, and set-up only
//! checks for the tools that this takes.

mod browser;
mod engines;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod macos;
mod python;
mod smollm2;
mod step;

#[cfg(target_os = "linux")]
pub use linux::libraries;
#[cfg(not(target_os = "linux"))]
pub use macos::libraries;

use crate::project::Project;
use anyhow::Result;
use std::ffi::OsString;

/// The MLX version: the one that mlx-sys wraps, and the one that mlx-lm runs on in comparisons.
const MLX: &str = "0.32.2";

/// Everything: the libraries, the reference engines, the small real model and a browser.
pub fn run(project: &Project) -> Result<()> {
    libraries(project)?;
    engines::install(project)?;
    smollm2::install(project)?;
    browser::install(project)?;
    eprintln!("all that mlxplan needs for MLX is in {}", project.mlx.display());
    Ok(())
}

/// Arguments for any of Cargo's subcommands with which the feature `mlx` links.
///
/// They follow the subcommand: Cargo does not hand those before it on to `clippy`.
pub fn cargo_arguments(project: &Project) -> Vec<OsString> {
    if cfg!(target_os = "linux") {
        vec!["--config".into(), project.cargo_config().into()]
    } else {
        Vec::new()
    }
}
