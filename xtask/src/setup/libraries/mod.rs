//! MLX from the package registries, and the Cargo configuration that links it.
//!
//! The crate `mlx-sys` would build MLX itself, for macOS only and with Xcode. Its wrapper is portable, though, so the
//! library comes from a Python wheel (with Metal on macOS, for the CPU on Linux), the wrapper is compiled from the crate's
//! sources, and a links override stands in for the crate's build script.

mod bindings;
mod cargo_config;
mod libmlx;
mod mlx_sys;
mod wrapper;

pub use libmlx::PACKAGE;

use super::python;
use crate::packages::Missing;
use crate::project::Project;
use anyhow::Result;
use xshell::cmd;

/// The oldest macOS that the wheels of MLX run on.
const MACOS: &str = "14.0";

/// Brings what mlxplan links against with the feature `mlx`.
pub fn install(project: &Project) -> Result<()> {
    if cfg!(not(any(target_os = "linux", target_os = "macos"))) {
        return Err(Missing::error("MLX for this system", "it runs on macOS and Linux"));
    }
    if cfg!(target_os = "macos")
        && cmd!(project.shell, "xcode-select -p").quiet().ignore_stderr().read().is_err()
    {
        return Err(Missing::error(
            "the command-line tools of macOS",
            "run `xcode-select --install`",
        ));
    }
    python::environment(project, "python", &project.mlx.join("venv"))?;
    let sys = mlx_sys::Source::find(project)?;
    libmlx::install(project)?;
    wrapper::build(project, &sys)?;
    bindings::generate(project, &sys)?;
    cargo_config::write(project, &sys)
}
