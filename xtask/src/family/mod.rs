//! `cargo xtask family NAME CONFIG.json [--like FAMILY]`: a new model family, from skeleton to proof.
//!
//! Every step does nothing where its result is there, so the command is run again after each change of the family's
//! file until its tests pass.

mod source;
mod vectors;

use crate::oracle;
use crate::packages::Missing;
use crate::project::Project;
use crate::setup;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use xshell::cmd;

/// What a new family is made from.
#[derive(clap::Args)]
pub struct Request {
    /// Name of the file in src/graph/families, as mlx-lm names its own
    name: String,
    /// A published config.json of the family
    config: PathBuf,
    /// Family whose file the skeleton is copied from
    #[arg(long, default_value = "llama")]
    like: String,
    /// A configuration of some layers and narrow matrices for the comparison of logits; made from CONFIG without it
    #[arg(long, value_name = "FILE")]
    small: Option<PathBuf>,
}

/// Writes and registers the skeleton, makes the vectors, runs the tests of this family.
pub fn run(project: &Project, request: &Request) -> Result<()> {
    let name = &request.name;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(good),
        "{name} is no name of a Rust module"
    );
    let config = absolute(&request.config)?;
    let model_type = model_type(&config)?;
    source::skeleton(project, name, &request.like)?;
    source::register(project, name, &request.like, &model_type)?;
    cmd!(project.shell, "cargo fmt").run()?;
    let small = match &request.small {
        Some(file) => absolute(file)?,
        None => shrunk(project, name, &config)?,
    };
    vectors::add(project, name, &config, &small)?;
    tests(project, name)
}

/// Compares sizes, caches, steps and peaks, which needs no MLX; when they agree, and MLX can be linked, logits.
fn tests(project: &Project, name: &str) -> Result<()> {
    let not_yet = || format!("src/graph/families/{name}.rs is not yet what mlx-lm runs");
    cmd!(project.shell, "cargo test --test conformance -- families:: hostile::")
        .env("MLXPLAN_FAMILY", name)
        .run()
        .with_context(not_yet)?;
    match setup::reference(project) {
        Ok(()) => {}
        Err(error) if error.is::<Missing>() => {
            eprintln!("logits are left out: {error:#}");
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let linked = setup::cargo_arguments(project);
    cmd!(project.shell, "cargo test {linked...} --features mlx --test mlx -- families::")
        .env("MLXPLAN_FAMILY", name)
        .run()
        .with_context(not_yet)
}

/// A small configuration of the same type, beside the other vectors' files under the target folder.
fn shrunk(project: &Project, name: &str, config: &Path) -> Result<PathBuf> {
    let file = project.target.join(format!("{name}.small.json"));
    let text = oracle::vectors(project, &["shrink".as_ref(), config.as_os_str()])?;
    project.shell.write_file(&file, text)?;
    Ok(file)
}

fn model_type(config: &Path) -> Result<String> {
    let text = std::fs::read_to_string(config)
        .with_context(|| format!("cannot read {}", config.display()))?;
    let value: Value = serde_json::from_str(&text)?;
    match value["model_type"].as_str() {
        Some(model_type) => Ok(model_type.to_owned()),
        None => bail!("{} names no model_type", config.display()),
    }
}

/// The shell stands in the project's root, the user maybe elsewhere.
fn absolute(file: &Path) -> Result<PathBuf> {
    std::path::absolute(file).with_context(|| format!("cannot find {}", file.display()))
}
