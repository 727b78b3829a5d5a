//! mlx-lm in a subprocess, and the real model that both run.

use mlxplan::data_dir::DataDirs;
use mlxplan::estimate::{OpenedModel, Sources};
use mlxplan::model::Models;
use mlxplan::model::source::folder;
use mlxplan::model::source::hub::HubOptions;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that `cargo xtask setup` puts under `target/mlx`.
pub fn installed(path: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mlx").join(path);
    assert!(file.exists(), "{} is missing: run `cargo xtask setup`", file.display());
    file
}

/// A script of the tests, for the Python that has mlx-lm.
pub fn script(name: &str, arguments: &[&Path]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    let mut command = Command::new(installed("venv/bin/python"));
    command.arg(script).args(arguments);
    command
}

/// Runs a script of the tests; returns what it prints.
pub fn python(name: &str, arguments: &[&Path]) -> String {
    let output = script(name, arguments).output().expect("Python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The folder of SmolLM2-135M-Instruct.
pub fn model_folder() -> PathBuf {
    installed("models/SmolLM2-135M-Instruct-4bit")
}

/// The same model with the tensors of its folder.
pub fn subject() -> OpenedModel {
    let source = folder::load(&model_folder()).expect("a model folder");
    let data = DataDirs::discover(None).expect("data folders");
    let catalog = Models::load(&data).expect("the catalog");
    let hub = HubOptions::from_env(&|_| None, None);
    let program = mlxplan::Program::MlxLm;
    let sources = Sources { catalog: &catalog, hub, progress: &|_| {}, assume: None, program };
    OpenedModel::from_source(source, None, &sources).expect("a model that mlxplan knows")
}
