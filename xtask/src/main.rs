//! Developer tasks: `cargo xtask <task>`.

mod check_macos;
mod project;
mod run;
mod setup;
mod test;

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
    /// Run every check: format, lints, macOS types, documentation, all tests, with real MLX
    Test,
    /// Type-check the macOS code from Linux
    CheckMacos,
}

fn main() -> Result<()> {
    let task = Task::parse();
    let project = Project::open()?;
    match task {
        Task::Setup => setup::run(&project),
        Task::Run { args } => run::run(&project, &args),
        Task::Test => test::run(&project),
        Task::CheckMacos => check_macos::run(&project),
    }
}
