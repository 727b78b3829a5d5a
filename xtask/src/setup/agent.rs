//! The official Python SDK of the Model Context Protocol, as an agent that talks to `mlxplan mcp`.

use super::python;
use super::step::once;
use crate::project::Project;
use anyhow::Result;

const SDK: &str = "mcp==2.3.0";

/// Installs it into an environment of its own: what it depends on is nothing to the engines.
pub fn install(project: &Project) -> Result<()> {
    let folder = project.mlx.join("agent");
    let environment = python::environment(project, "agent's Python", &folder)?;
    let python = folder.join("bin/python");
    once(project, "agent", &format!("{SDK}\n{environment}"), &python, || {
        python::install(project, &python, &[SDK.to_owned()])
    })
}
