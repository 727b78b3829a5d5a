//! What README.md and docs/tour.md show is what the program does.

use assert_cmd::Command;

const README: &str = include_str!("../README.md");
const TOUR: &str = include_str!("../docs/tour.md");

/// Runs the `console` blocks and compares their outputs.
#[test]
fn outputs_are_real() {
    trycmd::TestCases::new().case("README.md").case("docs/tour.md");
}

/// The commands that are only named exist, with their flags.
#[test]
fn commands_exist() {
    let of_readme = README.lines().filter_map(|line| line.strip_prefix("cargo run --release -- "));
    let shell = TOUR.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    let of_tour = shell.flat_map(str::lines).filter_map(|line| line.strip_prefix("mlxplan "));
    assert!(of_readme.clone().next().is_some() && of_tour.clone().next().is_some());
    let commands = of_readme.chain(of_tour);
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
