//! MLX's CPU backend from the package registries, and the Cargo configuration that links it.
//!
//! The crate `mlx-sys` builds MLX for macOS only. Its wrapper is portable, though, so here the library comes from the
//! Python wheel, the wrapper is compiled from the crate's sources, and a links override stands in for the crate's
//! build script.

mod bindings;
mod cargo_config;
mod libmlx;
mod mlx_sys;
mod wrapper;

use super::python;
use crate::project::Project;
use anyhow::Result;

/// Brings what mlxplan links against with the feature `mlx`.
pub fn libraries(project: &Project) -> Result<()> {
    let sys = mlx_sys::Source::find(project)?;
    python::environment(project, "python", &project.mlx.join("venv"))?;
    libmlx::install(project)?;
    wrapper::build(project, &sys)?;
    bindings::generate(project, &sys)?;
    cargo_config::write(project, &sys)
}
