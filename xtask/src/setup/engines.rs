//! The engines that mlxplan is compared with: mlx-lm, and llama.cpp's server.

use super::step::once;
use super::{MLX, python};
use crate::project::Project;
use anyhow::Result;

const MLX_LM: &str = "mlx-lm==0.32.2";
/// llama.cpp with its server as a Python module.
const LLAMA_CPP: &str = "xllamacpp==2026.10.11549";

/// Installs them into the Python environment.
pub fn install(project: &Project) -> Result<()> {
    let environment = python::environment(project)?;
    let mlx =
        if cfg!(target_os = "linux") { format!("mlx[cpu]=={MLX}") } else { format!("mlx=={MLX}") };
    let packages = [MLX_LM, &mlx, LLAMA_CPP];
    let inputs = format!("{}\n{environment}", packages.join("\n"));
    once(project, "engines", &inputs, &project.python(), || python::install(project, &packages))
}
