//! libmlx for Linux and libclang, from their Python wheels.

use super::super::python;
use super::super::step::once;
use crate::project::Project;
use crate::versions::MLX_LINKED;
use anyhow::Result;
use std::path::PathBuf;

const LIBCLANG: &str = "libclang==18.1.1";

/// Unpacks the wheel `mlx-cpu`, which holds the library, its headers and its BLAS, and `libclang` for the bindings.
pub fn install(project: &Project) -> Result<()> {
    let packages = [format!("mlx-cpu=={MLX_LINKED}"), LIBCLANG.to_owned()];
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

/// Folder of `libmlx.so`.
pub fn library(project: &Project) -> PathBuf {
    wheels(project).join("mlx/lib")
}

/// Folder of `libclang.so`.
pub fn clang(project: &Project) -> PathBuf {
    wheels(project).join("clang/native")
}
