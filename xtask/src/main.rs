//! Developer tasks: `cargo xtask <task>`.

mod apt;
mod check_macos;
mod docs;
mod figures;
mod fit;
mod project;
mod run;
mod setup;
mod test;

use anyhow::Result;
use clap::Parser;
use project::Project;
use std::path::PathBuf;
use std::process::ExitCode;

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
    /// Build mlxplan as releases have it: optimised, with MLX in process
    Build,
    /// Run every check: format, lints, macOS types, documentation, all tests, with real MLX
    Test,
    /// Type-check the macOS code from Linux
    CheckMacos,
    /// Write docs/reference.md, and man pages under target/man, from the definitions of the arguments
    Docs,
    /// Fit the speed laws on data/measurements.csv; writes data/coefficients.json and data/cross_validation.csv
    Fit {
        /// Only say whether the committed files are what would be written
        #[arg(long)]
        check: bool,
    },
    /// Compare the figures of two builds of mlxplan over twenty models; fails when one differs
    Figures {
        /// The program as it was
        base: PathBuf,
        /// The program as it is
        new: PathBuf,
    },
}

fn main() -> ExitCode {
    match run_task(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_task(task: Task) -> Result<()> {
    let project = Project::open()?;
    match task {
        Task::Setup => setup::run(&project),
        Task::Run { args } => run::run(&project, &args),
        Task::Build => run::build(&project),
        Task::Test => test::run(&project),
        Task::Docs => docs::run(&project),
        Task::CheckMacos => check_macos::run(&project),
        Task::Fit { check } => fit::run(&project, check),
        Task::Figures { base, new } => figures::run(&base, &new),
    }
}

#[cfg(test)]
mod tests {
    use super::Task;
    use clap::Parser;

    #[test]
    fn the_tasks_of_the_readme_exist() {
        let readme = include_str!("../../README.md");
        let tasks: Vec<&str> =
            readme.lines().filter_map(|line| line.strip_prefix("cargo xtask ")).collect();
        assert!(!tasks.is_empty());
        for task in tasks {
            let words = task.split('#').next().unwrap_or_default().split_whitespace();
            let parsed = Task::try_parse_from(["xtask"].into_iter().chain(words));
            assert!(parsed.is_ok(), "cargo xtask {task}");
        }
    }
}
