//! The engines that mlxplan is compared with: mlx-lm, and llama.cpp's server.

use super::python;
use super::step::once;
use crate::project::Project;
use crate::versions::{MLX_LINKED, MLX_LM};
use anyhow::Result;

/// llama.cpp with its server as a Python module.
const LLAMA_CPP: &str = "xllamacpp==2026.10.11549";

/// Installs them into the Python environment.
pub fn install(project: &Project) -> Result<()> {
    let environment = python::environment(project, "python", &project.mlx.join("venv"))?;
    let packages = [format!("mlx-lm=={MLX_LM}"), python::mlx(MLX_LINKED), LLAMA_CPP.to_owned()];
    let inputs = format!("{}\n{environment}", packages.join("\n"));
    once(project, "engines", &inputs, &project.python(), || {
        python::install(project, &project.python(), &packages)
    })
}
