//! What README.md shows is what the program does.

use assert_cmd::Command;

const README: &str = include_str!("../README.md");

/// Runs the `console` blocks and compares their outputs.
#[test]
fn outputs_are_real() {
    trycmd::TestCases::new().case("README.md");
}

/// The commands that are only named exist, with their flags.
#[test]
fn commands_exist() {
    let commands: Vec<&str> =
        README.lines().filter_map(|line| line.strip_prefix("cargo run --release -- ")).collect();
    assert!(!commands.is_empty());
    for command in commands {
        // Help is printed after the arguments before it were understood.
        Command::cargo_bin("mlxplan")
            .unwrap()
            .args(command.split_whitespace())
            .arg("--help")
            .assert()
            .success();
    }
}
