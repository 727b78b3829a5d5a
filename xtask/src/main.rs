//! Developer tasks: `cargo xtask <task>`.

mod project;
mod run;
mod setup;

use anyhow::Result;
use clap::Parser;
use project::Project;

/// Developer tasks of mlxplan
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about)]
enum Task {
    /// Bring what MLX needs on this machine; cached under target/mlx
    Setup,
    /// Run mlxplan with MLX in process, optimised
    Run {
        /// Arguments for mlxplan
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> Result<()> {
    let task = Task::parse();
    let project = Project::open()?;
    match task {
        Task::Setup => setup::run(&project),
        Task::Run { args } => run::run(&project, &args),
    }
}
