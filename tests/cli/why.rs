//! `mlxplan why`.

use crate::{json, run};

const SLOW: &str = "why --model qwen3-32b-4bit --mac mbp16-m4max-40-2024/64 --measured 12";

fn share(answer: &serde_json::Value, cause: &str) -> f64 {
    let causes = answer["causes"].as_array().expect("causes");
    let found = causes.iter().find(|c| c["cause"] == cause);
    found.and_then(|c| c["probability"].as_f64()).unwrap_or(0.0)
}

#[test]
fn a_power_mode_that_is_said_counts() {
    let at = |flags: &str| share(&json(&format!("{SLOW} {flags}")).1, "power_mode");
    assert!(
        at("--power low") > 0.9 && at("--power low") > at(""),
        "{} {}",
        at("--power low"),
        at("")
    );
    assert_eq!(at("--power high"), 0.0);
}

#[test]
fn work_that_has_just_begun_has_made_no_heat() {
    let at = |flags: &str| share(&json(&format!("{SLOW} {flags}")).1, "thermal");
    assert!(at("") > 0.0);
    assert_eq!(at("--sustained 0"), 0.0);
}

#[test]
fn factors_and_commands_can_be_read_and_asked_again() {
    let (code, out, _) = run(SLOW);
    assert_eq!(code, 0);
    assert!(out.contains("× 0.30–0.70"), "{out}");
    let factors = out.lines().filter(|line| line.contains("× "));
    assert!(factors.into_iter().all(|line| !line.contains("e-")), "{out}");
    let assume = "--bandwidth 500 --gpu-cores 40 --memory 64 --ttft 60";
    let (_, answer) = json(&format!("why --model qwen3-32b-4bit {assume}"));
    let tests: Vec<&str> = answer["causes"]
        .as_array()
        .expect("causes")
        .iter()
        .filter_map(|c| c["test"].as_str())
        .collect();
    let again = tests.iter().find(|t| t.contains("mlxplan predict")).expect("one of them");
    assert!(again.contains("--bandwidth 500 --gpu-cores 40 --memory 64"), "{again}");
}

#[test]
fn only_a_machine_that_may_be_a_laptop_is_told_of_warm_laptops() {
    let taken = |mac: &str| {
        let (_, answer) = json(&format!("why --model qwen3-8b-4bit --mac {mac} --measured 12"));
        answer["assumed"].to_string()
    };
    assert!(taken("m4max-40/64").contains("before it is warm"));
    assert!(!taken("studio-m3ultra-60-2025/96").contains("before it is warm"));
}
