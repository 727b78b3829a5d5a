//! `cargo xtask test`: everything that is checked before a change lands, on this machine and in CI.

use crate::project::Project;
use crate::{check_macos, fit, setup};
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
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
    let mut passed = 0;
    step("tests, without MLX", || {
        passed += tests(project, &["--workspace", "--features", "browser"].map(OsString::from))?;
        Ok(())
    })?;
    step("tests, with MLX", || {
        let mut with_mlx = config.clone();
        with_mlx.extend(["--features", "mlx"].map(OsString::from));
        passed += tests(project, &with_mlx)?;
        Ok(())
    })?;
    println!("{passed} passed, 0 failed");
    Ok(())
}

/// Runs `cargo test`, shows what it prints, and returns how many tests passed.
fn tests(project: &Project, arguments: &[OsString]) -> Result<u64> {
    let mut child = Command::new("cargo")
        .arg("test")
        .args(arguments)
        .current_dir(project.shell.current_dir())
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo does not start")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut passed = 0;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        passed += passed_in(&String::from_utf8_lossy(&line)).unwrap_or(0);
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        out.write_all(b"\n")?;
    }
    let status = child.wait()?;
    ensure!(status.success(), "cargo test {arguments:?}: {status}");
    Ok(passed)
}

/// The number of tests in the closing line of a test program.
fn passed_in(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    rest.split_once(" passed")?.0.parse().ok()
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("── {name}");
    let start = Instant::now();
    work().with_context(|| format!("{name}: failed"))?;
    eprintln!("── {name}: {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::passed_in;

    #[test]
    fn closing_lines_are_counted() {
        let line = "test result: ok. 43 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.51s";
        assert_eq!(passed_in(line), Some(43));
        assert_eq!(passed_in("test cli::passed ... ok"), None);
    }
}
