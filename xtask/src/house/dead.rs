//! What the compiler would find dead if nothing outside the program used the library.
//!
//! Tests, benchmarks and tasks use the library, so most of its modules are public, though hidden, and the compiler takes
//! all that is public as used. Here it checks a copy whose modules are closed, and says what only those outside use.

use crate::project::Project;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use xshell::cmd;

/// Prints what neither the program nor anything else outside of unit tests uses.
pub fn run(project: &Project) -> Result<()> {
    let shell = &project.shell;
    let root = shell.current_dir();
    let copy = project.target.join("house/closed");
    shell.remove_path(&copy)?;
    shell.create_dir(&copy)?;
    for name in ["src", "data", "build.rs", "Cargo.lock", "README.md"] {
        let from = root.join(name);
        cmd!(shell, "cp -r {from} {copy}").run()?;
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    fs::write(copy.join("Cargo.toml"), alone(&manifest))?;
    let front = copy.join("src/lib.rs");
    fs::write(&front, closed(&fs::read_to_string(&front)?))?;
    let target = &project.target;
    let path = copy.join("Cargo.toml");
    let check = ["check", "--quiet", "--lib", "--message-format", "short"];
    let output = cmd!(shell, "cargo {check...} --manifest-path {path} --target-dir {target}")
        .ignore_status()
        .output()?;
    let text = String::from_utf8(output.stderr).context("the compiler's output is no text")?;
    ensure!(output.status.success(), "the copy does not compile:\n{text}");
    let outside = words_outside(&root)?;
    let unused = text.lines().filter(|line| line.contains(" never ")).filter(|line| {
        let names: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        names.is_empty() || names.iter().any(|name| !outside.contains(*name))
    });
    unused.for_each(|line| println!("{line}"));
    Ok(())
}

/// The manifest without the workspace and what lies outside of `src`.
fn alone(manifest: &str) -> String {
    let kept = manifest
        .split_inclusive('\n')
        .fold((String::new(), false), |(kept, left_out), line| {
            let left_out = match line.starts_with('[') {
                true => line.starts_with("[[test]]") || line.starts_with("[[bench]]"),
                false => left_out,
            };
            (if left_out { kept } else { kept + line }, left_out)
        })
        .0;
    kept.replace("members = [\"xtask\"]", "members = []")
}

/// The front door with closed modules and nothing re-exported.
fn closed(front: &str) -> String {
    let text = front.split("\npub use ").next().unwrap_or(front);
    text.replace("\npub mod ", "\nmod ").replace("\nmod cli;", "\npub mod cli;")
}

/// Every word of the sources outside of `src`.
fn words_outside(root: &Path) -> Result<BTreeSet<String>> {
    let mut words = BTreeSet::new();
    let mut folders = ["tests", "benches", "examples", "xtask/src"].map(|f| root.join(f)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path)?;
                let split = text.split(|c: char| !c.is_alphanumeric() && c != '_');
                words.extend(split.map(str::to_owned));
            }
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_closed_and_nothing_leaves() {
        let front = "//! x\n\npub mod graph;\npub mod cli;\nmod http;\n\npub use graph::Graph;\n";
        assert_eq!(closed(front), "//! x\n\nmod graph;\npub mod cli;\nmod http;\n");
        let manifest =
            "[workspace]\nmembers = [\"xtask\"]\n[[test]]\nname = \"a\"\n\n[lib]\nx = 1\n";
        assert_eq!(alone(manifest), "[workspace]\nmembers = []\n[lib]\nx = 1\n");
    }
}
