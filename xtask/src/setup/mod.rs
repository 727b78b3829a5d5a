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
pub mod python;
mod smollm2;
pub mod step;

#[cfg(target_os = "linux")]
pub use linux::libraries;
#[cfg(not(target_os = "linux"))]
pub use macos::libraries;

use crate::project::Project;
use anyhow::Result;
use std::ffi::OsString;

/// Everything: MLX with what it is compared with, and a browser.
///
/// # Errors
/// [`Missing`](crate::packages::Missing) where the machine lacks something that set-up may not install.
pub fn run(project: &Project) -> Result<()> {
    mlx(project)?;
    browser(project)?;
    eprintln!("all that mlxplan needs for MLX is in {}", project.mlx.display());
    Ok(())
}

/// What the feature `mlx` and its tests need: the libraries, the reference engines and the small real model.
pub fn mlx(project: &Project) -> Result<()> {
    libraries(project)?;
    engines::install(project)?;
    smollm2::install(project)
}

/// What the feature `browser` needs.
pub fn browser(project: &Project) -> Result<()> {
    browser::install(project)
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
