//! `cargo test`, with the number of tests that passed.

use crate::project::Project;
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use xshell::cmd;

/// Runs `cargo test`, shows what it prints, and returns how many tests passed.
pub fn run(project: &Project, arguments: &[OsString], words: &[&str]) -> Result<u64> {
    let mut child = Command::from(cmd!(project.shell, "cargo test {arguments...} {words...}"))
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo does not start")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut passed = 0;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        passed += passed_in(&line).unwrap_or(0);
        println!("{line}");
    }
    let status = child.wait()?;
    ensure!(status.success(), "cargo test {}: {status}", words.join(" "));
    Ok(passed)
}

/// The number of tests in the closing line of a test program.
fn passed_in(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    rest.split_once(" passed")?.0.parse().ok()
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
