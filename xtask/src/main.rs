//! Developer tasks: `cargo xtask <task>`.

mod check_macos;
mod docs;
mod family;
mod figures;
mod fit;
mod house;
mod oracle;
mod packages;
mod project;
mod release;
mod rules;
mod run;
mod setup;
mod tiers;
#[allow(dead_code, unused_imports, reason = "set-up needs some of them")]
#[path = "../../src/versions.rs"]
mod versions;

use anyhow::Result;
use clap::{Parser, Subcommand};
use project::Project;
use std::path::PathBuf;
use std::process::ExitCode;

/// Developer tasks of mlxplan
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
    /// Install no Debian packages, though this is root; what needs them is left out
    #[arg(long, global = true, env = "MLXPLAN_NO_SYSTEM_PACKAGES")]
    no_system_packages: bool,
}

#[derive(Subcommand)]
enum Task {
    /// Bring what MLX and the tests of the report's page need on this machine; cached under target/mlx
    Setup,
    /// Run mlxplan with MLX in process, optimized
    Run {
        /// Arguments for mlxplan
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build mlxplan as releases have it: optimized over all units, with MLX in process
    Build,
    /// Minutes, needs Rust alone: format, lints, unit tests and those of the command line, without MLX
    Check,
    /// Needs Python: the test vectors against mlxplan, and a sample of them against the oracle
    Conformance,
    /// What has to pass before a change lands, in CI too: lints, macOS types, documentation, all tests, with real MLX
    Test {
        /// Fail when this machine lacks something that a check needs, instead of naming what was left out
        #[arg(long)]
        complete: bool,
    },
    /// Hours: `test`, then everything without MLX too, every vector made anew, long property tests, a ladder of models
    Full,
    /// Feed every parser with spoiled files; inputs that fail are kept in target/fuzz
    Fuzz {
        /// Seconds for each parser
        #[arg(long, value_name = "N", default_value_t = 60)]
        seconds: u64,
        /// Which inputs; other ones with every run where it is left out
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// Type-check the macOS code from Linux
    CheckMacos,
    /// Check what dependencies may be (deny.toml) and the workflows of public CI
    Rules {
        /// Look for known holes too, in a database that is fetched from GitHub
        #[arg(long)]
        advisories: bool,
    },
    /// Run the oracle of the tests (tests/oracle); without arguments only bring it
    Oracle {
        /// Arguments for tests/oracle/oracle.py
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Add a model family: skeleton, registration, vectors from the oracle, and the tests that concern it
    Family(family::Request),
    /// Write docs/reference.md, and man pages under target/man, from the definitions of the arguments
    Docs,
    /// Check the profiles of machines that people sent (calibration/)
    Profiles,
    /// Make the files of a release that this machine can make, and try each in a clean folder
    Release(release::Request),
    /// Fit the speed laws on data/measurements.csv; writes data/coefficients.json and data/cross_validation.csv
    Fit {
        /// Only say whether the committed files are what would be written
        #[arg(long)]
        check: bool,
    },
    /// Count what the house is measured by: lines of graph/, doubled names, circles of imports, public items, long files
    House {
        /// The sources of this commit instead of those that lie here
        #[arg(long, value_name = "COMMIT")]
        at: Option<String>,
        /// Instead, what the compiler finds dead when the modules of the library are closed
        #[arg(long, conflicts_with = "at")]
        dead: bool,
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
    match run_task(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_task(arguments: Arguments) -> Result<()> {
    let project = Project::open(!arguments.no_system_packages)?;
    match arguments.task {
        Task::Setup => setup::run(&project),
        Task::Run { args } => run::run(&project, &args),
        Task::Build => run::build(&project),
        Task::Check => tiers::check(&project),
        Task::Conformance => tiers::conformance(&project),
        Task::Test { complete } => tiers::test(&project, complete),
        Task::Full => tiers::full(&project),
        Task::Fuzz { seconds, seed } => tiers::fuzz(&project, seconds, seed),
        Task::Family(request) => family::run(&project, &request),
        Task::Docs => docs::run(&project),
        Task::Profiles => docs::profiles(&project),
        Task::Release(request) => release::run(&project, &request),
        Task::CheckMacos => {
            setup::libraries(&project)?;
            check_macos::run(&project, true)
        }
        Task::Rules { advisories } => rules::run(&project, advisories),
        Task::Oracle { args } if args.is_empty() => oracle::environment(&project).map(|_| ()),
        Task::Oracle { args } => oracle::run(&project, &args),
        Task::Fit { check } => fit::run(&project, check),
        Task::House { dead: true, .. } => house::dead(&project),
        Task::House { at, .. } => house::run(&project, at.as_deref()),
        Task::Figures { base, new } => figures::run(&base, &new),
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::Parser;

    #[test]
    fn the_tasks_of_the_readme_exist() {
        let readme = include_str!("../../README.md");
        let tasks: Vec<&str> =
            readme.lines().filter_map(|line| line.strip_prefix("cargo xtask ")).collect();
        assert!(!tasks.is_empty());
        for task in tasks {
            let words = task.split('#').next().unwrap_or_default().split_whitespace();
            let parsed = Arguments::try_parse_from(["xtask"].into_iter().chain(words));
            assert!(parsed.is_ok(), "cargo xtask {task}");
        }
    }
}
