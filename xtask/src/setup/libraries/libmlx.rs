//! libmlx and libclang, from their Python wheels.

use super::super::python;
use super::super::step::once;
use crate::project::Project;
use crate::versions::MLX_LINKED;
use anyhow::Result;
use std::path::PathBuf;

const LIBCLANG: &str = "libclang==18.1.1";

/// The wheel that holds the library and its headers: with its kernels on macOS, with its BLAS on Linux.
pub const PACKAGE: &str = if cfg!(target_os = "macos") { "mlx-metal" } else { "mlx-cpu" };

/// Unpacks that wheel, and `libclang` for the bindings.
pub fn install(project: &Project) -> Result<()> {
    let packages = [format!("{PACKAGE}=={MLX_LINKED}"), LIBCLANG.to_owned()];
    once(project, "libmlx", &packages.join("\n"), &wheels(project), || {
        python::unpack(project, &packages, &wheels(project))
    })
}

fn wheels(project: &Project) -> PathBuf {
    project.mlx.join("wheels")
}

/// Headers of MLX.
pub fn include(project: &Project) -> PathBuf {
    wheels(project).join("mlx/include")
}

/// Folder of `libmlx.so` or `libmlx.dylib`.
pub fn library(project: &Project) -> PathBuf {
    wheels(project).join("mlx/lib")
}

/// Folder of libclang.
pub fn clang(project: &Project) -> PathBuf {
    wheels(project).join("clang/native")
}
