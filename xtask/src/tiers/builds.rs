//! Which test runs in which build of mlxplan; each runs in one.
//!
//! Answers are tested in a build without MLX, as most people have it, with a little optimization, because they take long.
//! The library, and what runs models, are tested with MLX where the machine has it, and quickly compiled. Only those
//! tests of the command line that meet MLX run in both.

use super::cargo_test;
use super::programs;
use super::steps::Steps;
use crate::project::Project;
use crate::setup;
use anyhow::Result;
use std::ffi::OsString;

/// The tests of the command line.
const CLI: &str = "cli";

/// Its modules about commands that a build with MLX may answer otherwise.
const MEETS_MLX: [&str; 3] = ["errors::", "predict::", "profile::"];

/// Test programs that run models, or ask programs that do.
const RUN_MODELS: [&str; 3] = ["engines", "mlx", "mlx_speed"];

/// Compiles mlxplan with a little optimization, for tests that predict for hundreds of models or start the program many
/// times. Without any, on one core, `validate` takes 30 s, a report 33 s, `finetune` 15 s, `recommend --mac` 9 s. What
/// `cargo test` builds by hand stays apart from it, quick to build again.
const OPTIMIZED: [&str; 2] = ["--config", "profile.dev.package.mlxplan.opt-level=1"];

/// Unit tests, without MLX.
pub fn unit_tests(steps: &mut Steps, project: &Project) -> Result<()> {
    steps.run("unit tests", || cargo_test::run(project, &[], &["--workspace", "--lib", "--bins"]))
}

/// All tests of the command line, without MLX.
pub fn command_line(steps: &mut Steps, project: &Project) -> Result<()> {
    steps.run("tests of the command line", || {
        cargo_test::run(project, &optimized(&[]), &["--test", CLI])
    })
}

/// The test vectors against mlxplan.
pub fn vectors(steps: &mut Steps, project: &Project) -> Result<()> {
    steps.run("vectors", || cargo_test::run(project, &optimized(&[]), &["--test", "conformance"]))
}

/// Every test that these features of mlxplan allow.
pub fn all(steps: &mut Steps, project: &Project, features: &[&str]) -> Result<()> {
    // Examples are type-checked by the lints; linking them would prove nothing more.
    let programs = programs::all(project, features)?;
    let (running, answering): (Vec<&str>, Vec<&str>) =
        programs.iter().map(String::as_str).partition(|program| RUN_MODELS.contains(program));
    let mlx = features.contains(&"mlx");
    let config = with_mlx(project, mlx);
    let name = if mlx { "with MLX" } else { "without MLX" };
    steps.run(&format!("unit tests and programs that run models, {name}"), || {
        let targets = [vec!["--workspace", "--lib", "--bins"], named(&running)].concat();
        Ok(cargo_test::run(project, &config, &targets)?
            + cargo_test::run(project, &config, &["--doc"])?)
    })?;
    if mlx {
        let words = [&["--test", CLI, "--"], &MEETS_MLX[..]].concat();
        steps.run("tests of the command line that meet MLX", || {
            cargo_test::run(project, &config, &words)
        })?;
    }
    let without: Vec<&str> = features.iter().copied().filter(|f| *f != "mlx").collect();
    steps.run("tests of answers, without MLX", || {
        cargo_test::run(project, &optimized(&without), &named(&answering))
    })
}

/// Arguments that select these test programs.
fn named<'a>(programs: &[&'a str]) -> Vec<&'a str> {
    programs.iter().flat_map(|program| ["--test", program]).collect()
}

/// Arguments for a build with MLX, where it is there.
fn with_mlx(project: &Project, mlx: bool) -> Vec<OsString> {
    if !mlx {
        return Vec::new();
    }
    let mut arguments = setup::cargo_arguments(project);
    arguments.extend(["--features".into(), "mlx".into()]);
    arguments
}

/// Arguments for a build without MLX that answers quickly.
fn optimized(features: &[&str]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = OPTIMIZED.map(OsString::from).into();
    if !features.is_empty() {
        arguments.extend(["--features".into(), features.join(",").into()]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::{CLI, MEETS_MLX, RUN_MODELS};
    use crate::project::Project;
    use crate::tiers::programs;

    /// A name that nothing has any more would leave tests out in silence.
    #[test]
    fn the_programs_and_modules_exist() {
        let project = Project::open(false).expect("found");
        let programs = programs::all(&project, &[]).expect("read");
        for name in RUN_MODELS.iter().chain([&CLI]) {
            assert!(programs.iter().any(|p| p == name), "{name}");
        }
        let folder = project.shell.current_dir().join("tests").join(CLI);
        for module in MEETS_MLX {
            let file = folder.join(format!("{}.rs", module.trim_end_matches("::")));
            assert!(file.exists(), "{}", file.display());
        }
    }
}
