//! `cargo xtask setup`: what MLX needs on this machine.
//!
//! MLX comes from the package registries, on macOS with Metal; nothing of it is built here but its C wrapper.

mod agent;
mod browser;
mod engines;
mod libraries;
pub mod python;
mod smollm2;
pub mod step;

pub use libraries::PACKAGE as LIBMLX;

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

/// What the feature `mlx` and its tests need: the libraries, the reference engines, an agent, and the small real model.
pub fn mlx(project: &Project) -> Result<()> {
    reference(project)?;
    agent::install(project)?;
    smollm2::install(project)
}

/// MLX to link against, and the mlx-lm that logits are compared with.
pub fn reference(project: &Project) -> Result<()> {
    libraries(project)?;
    engines::install(project)
}

/// What mlxplan links against with the feature `mlx`.
pub fn libraries(project: &Project) -> Result<()> {
    libraries::install(project)
}

/// What the feature `browser` needs.
pub fn browser(project: &Project) -> Result<()> {
    browser::install(project)
}

/// Arguments for any of Cargo's subcommands with which the feature `mlx` links.
///
/// They follow the subcommand: Cargo does not hand those before it on to `clippy`.
pub fn cargo_arguments(project: &Project) -> Vec<OsString> {
    vec!["--config".into(), project.cargo_config().into()]
}
