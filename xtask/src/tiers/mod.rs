//! The tiers of checks, from minutes to hours. Each ends by saying what passed and what this machine left out.

mod builds;
mod cargo_test;
mod programs;
pub mod steps;

use crate::project::Project;
use crate::{check_macos, oracle, rules, setup};
use anyhow::{Result, anyhow};
use std::ffi::OsString;
use std::thread;
use steps::Steps;
use xshell::cmd;

/// Format, lints, unit tests and those of the command line, without MLX: needs Rust alone.
pub fn check(project: &Project) -> Result<()> {
    let mut steps = Steps::default();
    format(&mut steps, project)?;
    lints_without_mlx(&mut steps, project, &["--workspace", "--all-targets"])?;
    builds::unit_tests(&mut steps, project)?;
    builds::command_line(&mut steps, project)?;
    steps.finish(false)
}

/// The test vectors: against mlxplan, and a sample of them against the oracle that made them.
pub fn conformance(project: &Project) -> Result<()> {
    let mut steps = Steps::default();
    builds::vectors(&mut steps, project)?;
    steps.run_if_there("oracle", || oracle::sample(project))?;
    steps.finish(false)
}

/// What has to pass before a change lands; CI runs it with `complete`, which allows nothing to be left out.
pub fn test(project: &Project, complete: bool) -> Result<()> {
    let mut steps = Steps::default();
    whole(&mut steps, project)?;
    steps.run_if_there("oracle", || oracle::sample(project))?;
    steps.finish(complete)
}

/// Spoiled files for every parser, `seconds` long each.
pub fn fuzz(project: &Project, seconds: u64, seed: Option<u64>) -> Result<()> {
    let mut steps = Steps::default();
    spoiled_files(&mut steps, project, seconds, seed)?;
    steps.finish(false)
}

/// All of `test`, then what takes hours: everything without MLX too, every vector made anew, long property tests,
/// spoiled files, common sense over the whole catalog, a ladder of models, the benchmarks.
pub fn full(project: &Project) -> Result<()> {
    let mut steps = Steps::default();
    let features = whole(&mut steps, project)?;
    steps.run("all tests, without MLX", || cargo_test::run(project, &[], &["--workspace"]))?;
    steps.run("property tests, 20,000 cases", || {
        // Counted above, with fewer cases.
        cmd!(project.shell, "cargo test --lib").env("PROPTEST_CASES", "20000").run()?;
        Ok(0)
    })?;
    spoiled_files(&mut steps, project, 60, None)?;
    steps.run("common sense over the whole catalog", || {
        // Counted above, with fewer models.
        cmd!(project.shell, "cargo test --release --test conformance common_sense")
            .env("MLXPLAN_WHOLE_CATALOGUE", "1")
            .run()?;
        Ok(0)
    })?;
    steps.run_if_there("every vector made anew", || oracle::all(project))?;
    if features.contains(&"mlx") {
        steps.run("a ladder of models", || {
            let config = &setup::cargo_arguments(project);
            cmd!(project.shell, "cargo run {config...} --release --features mlx -- calibrate")
                .run()?;
            cmd!(
                project.shell,
                "cargo run {config...} --release --features mlx -- validate --suite"
            )
            .run()?;
            Ok(0)
        })?;
    }
    steps.run("benchmarks", || Ok(cmd!(project.shell, "cargo bench").run().map(|()| 0)?))?;
    steps.finish(false)
}

/// Set-up, lints, types, documentation and all tests; returns the features that could be tested.
fn whole(steps: &mut Steps, project: &Project) -> Result<Vec<&'static str>> {
    format(steps, project)?;
    let features = set_up(steps, project)?;
    let mlx = features.contains(&"mlx");
    thread::scope(|scope| {
        // Checking types is one thread's work, and this compiler writes into a folder of its own.
        let aside = project.clone();
        let macos =
            cfg!(target_os = "linux").then(|| scope.spawn(move || check_macos::run(&aside, mlx)));
        lints_and_documentation(steps, project, &features)?;
        let Some(macos) = macos else { return Ok(()) };
        steps.run_if_there("macOS types, begun beside the lints", || {
            macos.join().map_err(|_| anyhow!("the check panicked"))?.map(|()| 0)
        })?;
        Ok::<_, anyhow::Error>(())
    })?;
    steps.run_if_there("rules for dependencies and workflows", || {
        rules::run(project, false).map(|()| 0)
    })?;
    builds::all(steps, project, &features)?;
    Ok(features)
}

fn lints_and_documentation(steps: &mut Steps, project: &Project, features: &[&str]) -> Result<()> {
    let mlx = features.contains(&"mlx");
    let mut config = if mlx { setup::cargo_arguments(project) } else { Vec::new() };
    if !features.is_empty() {
        config.extend(["--features".into(), OsString::from(features.join(","))]);
    }
    let (sh, config) = (&project.shell, &config);
    steps.run("lints", || {
        cmd!(sh, "cargo clippy {config...} --workspace --all-targets -- -D warnings").run()?;
        Ok(0)
    })?;
    if mlx {
        lints_without_mlx(steps, project, &["--lib", "--bins"])?;
    }
    steps.run("documentation", || {
        cmd!(sh, "cargo doc {config...} --workspace --no-deps")
            .env("RUSTDOCFLAGS", "-D warnings")
            .run()?;
        Ok(0)
    })
}

/// Brings what the tests need; returns the features for which it is there.
fn set_up(steps: &mut Steps, project: &Project) -> Result<Vec<&'static str>> {
    let mut features = Vec::new();
    if steps.run_if_there("set-up of MLX", || setup::mlx(project).map(|()| 0))? {
        features.push("mlx");
    } else {
        steps.leave_out("tests with MLX in process and with real engines", "set-up of MLX was");
    }
    if steps.run_if_there("set-up of a browser", || setup::browser(project).map(|()| 0))? {
        features.push("browser");
    } else {
        steps.leave_out("tests of the report's page", "set-up of a browser was");
    }
    Ok(features)
}

/// The parsers with spoiled files, other ones with every run unless a seed is given, which is said.
fn spoiled_files(
    steps: &mut Steps,
    project: &Project,
    seconds: u64,
    seed: Option<u64>,
) -> Result<()> {
    let now = std::time::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_secs());
    let (seed, seconds) = (seed.unwrap_or(now).to_string(), seconds.to_string());
    steps.run(&format!("spoiled files, seed {seed}"), || {
        cmd!(project.shell, "cargo test --test fuzz -- --nocapture")
            .env("MLXPLAN_FUZZ_SECONDS", seconds)
            .env("MLXPLAN_FUZZ_SEED", seed)
            .run()?;
        Ok(0)
    })
}

fn format(steps: &mut Steps, project: &Project) -> Result<()> {
    steps.run("format", || {
        cmd!(project.shell, "cargo fmt --all --check").run()?;
        Ok(0)
    })
}

fn lints_without_mlx(steps: &mut Steps, project: &Project, targets: &[&str]) -> Result<()> {
    steps.run("lints, without MLX", || {
        cmd!(project.shell, "cargo clippy {targets...} -- -D warnings").run()?;
        Ok(0)
    })
}
