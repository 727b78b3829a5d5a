//! A machine that lacks things: the tier does the rest, and names what it left out and how to get it.

use super::steps::Steps;
use super::whole;
use crate::project::Project;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Programs of a machine with Rust and nothing else, whose user is not root; they only answer.
const PROGRAMS: [(&str, &str); 3] = [
    ("cargo", "if [ $1 = test ]; then echo 'test result: ok. 2 passed; 0 failed'; fi"),
    ("id", "echo 1000"),
    ("rustup", ":"),
];

fn machine(folder: &Path) -> Project {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).expect("a folder");
    for (name, line) in PROGRAMS {
        let program = bin.join(name);
        fs::write(&program, format!("#!/bin/sh\n{line}\n")).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    }
    let mut project = Project::open(true).expect("found");
    project.shell.set_var("PATH", &bin);
    project.shell.set_var("PYTHON", "python3");
    project.shell.set_var("CHROMIUM", folder.join("none"));
    project.target = folder.join("target");
    project.mlx = project.target.join("mlx");
    project
}

#[test]
fn without_python_root_and_browser_the_rest_is_done_and_they_are_named() {
    let home = xshell::Shell::new().expect("a shell");
    let folder = home.create_temp_dir().expect("a folder");
    let mut steps = Steps::default();
    let features = whole(&mut steps, &machine(folder.path())).expect("the rest passes");
    assert!(features.is_empty());
    // Each run of tests passed two.
    assert_eq!(steps.passed, 6);
    let left_out = steps.left_out.join("\n");
    for (what, how) in [
        ("set-up of MLX", "install Python 3.10"),
        ("set-up of a browser", "CHROMIUM"),
        ("rules for dependencies", "install Python 3.10"),
    ] {
        let line = left_out.lines().find(|line| line.starts_with(what)).expect(what);
        assert!(line.contains("is missing") && line.contains(how), "{line}");
    }
    assert!(left_out.contains("tests with MLX") && left_out.contains("the report's page"));
    assert!(steps.finish(true).is_err(), "--complete allows nothing to be left out");
}
