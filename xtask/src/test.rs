//! `cargo xtask test`: everything that is checked before a change lands, on this machine and in CI.

use crate::project::Project;
use crate::{check_macos, fit, setup};
use anyhow::{Context, Result};
use std::time::Instant;
use xshell::cmd;

/// Runs every check; the first failure ends it.
pub fn run(project: &Project) -> Result<()> {
    let sh = &project.shell;
    let config = &setup::cargo_arguments(project);
    step("format", || Ok(cmd!(sh, "cargo fmt --all --check").run()?))?;
    step("set-up", || setup::run(project))?;
    step("lints, without MLX", || {
        Ok(cmd!(sh, "cargo clippy --workspace --all-targets --features browser -- -D warnings")
            .run()?)
    })?;
    step("lints, with MLX", || {
        Ok(cmd!(sh, "cargo clippy {config...} --all-targets --features mlx -- -D warnings")
            .run()?)
    })?;
    if cfg!(target_os = "linux") {
        step("macOS types", || check_macos::run(project))?;
    }
    step("documentation", || {
        Ok(cmd!(sh, "cargo doc {config...} --workspace --no-deps --features mlx")
            .env("RUSTDOCFLAGS", "-D warnings")
            .run()?)
    })?;
    step("fit", || fit::run(project, true))?;
    step(
        "tests, without MLX",
        || Ok(cmd!(sh, "cargo test --workspace --features browser").run()?),
    )?;
    step("tests, with MLX", || Ok(cmd!(sh, "cargo test {config...} --features mlx").run()?))
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("── {name}");
    let start = Instant::now();
    work().with_context(|| format!("{name}: failed"))?;
    eprintln!("── {name}: {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
