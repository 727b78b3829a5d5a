//! The scenarios of `mlxplan bench`, against a server written for the tests.

use crate::cli::{bench, json, stderr, stdout};
use crate::fake::{Conduct, Fake, Program};
use std::time::Duration;

#[test]
fn users_at_once_are_served_and_counted() {
    let fake = Fake::start(Program::OpenAi, Conduct::Good);
    let arguments = ["--server", &fake.address, "--scenario", "concurrency", "--users", "1,4"];
    let report = json(&[&arguments[..], &["--requests", "2", "--min-rate", "0.1"]].concat());
    let load = &report["load"];
    assert_eq!((&load[0]["users"], &load[0]["requests"]), (&1.into(), &2.into()));
    assert_eq!(
        (&load[1]["users"], &load[1]["requests"], &load[1]["kept"]),
        (&4.into(), &8.into(), &8.into())
    );
    // The test process is the server; its memory is seen before, during and after.
    for when in ["memory_before", "memory_highest", "memory_after"] {
        assert!(load[1][when]["resident_bytes"].as_u64() > Some(1 << 20), "{when}: {load}");
    }
    let one = load[0]["total_tokens_per_s"].as_f64().unwrap();
    let four = load[1]["total_tokens_per_s"].as_f64().unwrap();
    assert!(four > 1.5 * one, "{one} {four}");
    // Nobody is fast enough for an impossible promise.
    let report = json(&[&arguments[..], &["--requests", "2", "--min-rate", "1e6"]].concat());
    assert_eq!(report["load"][1]["goodput_requests_per_s"], 0.0);
}

#[test]
fn failures_under_load_are_counted() {
    let fake = Fake::start(Program::OpenAi, Conduct::EveryOther);
    let report = json(&[
        "--server",
        &fake.address,
        "--scenario",
        "concurrency",
        "--users",
        "2",
        "--requests",
        "4",
        "--warm-up",
        "0",
    ]);
    assert_eq!(
        (&report["load"][0]["requests"], &report["load"][0]["failed"]),
        (&8.into(), &4.into())
    );
}

#[test]
fn a_soak_gives_a_slope_with_its_interval() {
    let fake = Fake::start(Program::OpenAi, Conduct::Good);
    let arguments = ["--server", &fake.address, "--scenario", "soak", "--generate", "2"];
    let report = json(&[&arguments[..], &["--turns", "130"]].concat());
    let soak = &report["soak"][0];
    assert_eq!((&soak["turns"], &soak["failed"]), (&130.into(), &0.into()));
    let growth = soak["growth"].as_array().unwrap();
    let resident = growth.iter().find(|g| g["metric"] == "resident_bytes").unwrap();
    assert_eq!(resident["slope"]["settling_turns"], 20);
    let [low, high] = [0, 1].map(|i| resident["slope"]["interval_95"][i].as_f64().unwrap());
    assert!(low <= high && high < 1e6, "{resident}");
    // Ten turns tell nothing, and the answer says so.
    let output = bench(&[&arguments[..], &["--turns", "10"]].concat());
    assert!(stdout(&output).contains("too few turns"), "{}", stdout(&output));
    let time = json(&[&arguments[..], &["--minutes", "0.01"]].concat());
    assert!(time["soak"][0]["turns"].as_u64() > Some(3));
}

#[test]
fn a_kept_prefix_is_seen_and_its_saving_predicted() {
    // This server does not get faster, but it counts what it has seen before.
    let fake = Fake::start(Program::LlamaCpp, Conduct::Good);
    let report = json(&["--server", &fake.address, "--scenario", "resume", "--depths", "600"]);
    let resume = &report["resume"][0];
    let cached = resume["cached_tokens"].as_f64().unwrap();
    assert!((550.0..640.0).contains(&cached), "{resume}");
    assert!(resume["predicted_saving_s"].as_f64().unwrap() > 0.0);
    assert_eq!(resume["speed_up"]["n"], 3);
    assert_eq!(report["summary"][1]["flags"]["cached_prefix"], 3);
}

#[test]
fn a_cold_start_needs_a_command_or_a_call_to_unload() {
    let ollama = Fake::start(Program::Ollama, Conduct::Good);
    let report = json(&["--server", &ollama.address, "--scenario", "cold"]);
    assert_eq!(report["cold"][0]["own_load_s"]["median"], 1.5);
    assert_eq!(report["cold"][0]["ready_s"], serde_json::Value::Null);
    let unloads = ollama.bodies.lock().unwrap().iter().filter(|b| b["keep_alive"] == 0).count();
    assert_eq!(unloads, 3);
    let other = Fake::start(Program::OpenAi, Conduct::Good);
    let output = bench(&["--server", &other.address, "--scenario", "cold"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--launch"), "{}", stderr(&output));
    // A server that runs already cannot be started.
    let output =
        bench(&["--server", &other.address, "--scenario", "cold", "--launch", "sleep 100"]);
    assert!(stderr(&output).contains("answers at the server's address already"));
    let nowhere = ["--server", "http://127.0.0.1:9", "--scenario", "cold", "--stall-timeout", "1"];
    let output = bench(&[&nowhere[..], &["--launch", "sleep 100"]].concat());
    assert!(stderr(&output).contains("did not answer within"), "{}", stderr(&output));
}

#[test]
fn predictions_stand_next_to_the_figures() {
    // About 80 tokens per second: more than 120 would be beyond the memory bus of that Mac, and no rate.
    let fake = Fake::start(Program::OpenAi, Conduct::Slow(Duration::from_millis(10)));
    let arguments = ["--server", &fake.address, "--prompts", "question", "--mac", "m4max-40/128"];
    let report = json(&[&arguments[..], &["--as", "qwen3-8b-4bit"]].concat());
    let p = &report["predicted"][0];
    let (measured, predicted) = (p["measured"].as_f64().unwrap(), p["predicted"].as_f64().unwrap());
    assert_eq!(report["summary"][0]["metrics"]["decode_tokens_per_s"]["median"], measured);
    assert!((60.0..130.0).contains(&predicted), "{p}");
    assert!((p["error"].as_f64().unwrap() - (predicted / measured - 1.0)).abs() < 1e-9);
    // A model that nobody knows has no prediction, and the answer says why.
    let text = stdout(&bench(&[&arguments[..], &["--as", "no-such-model-4bit"]].concat()));
    assert!(text.contains("no predictions for A"), "{text}");
}

#[test]
fn runs_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let plots = folder.path().to_str().unwrap();
    let a = Fake::start(Program::LlamaCpp, Conduct::Good);
    let b = Fake::start(Program::OpenAi, Conduct::Slow(Duration::from_millis(2)));
    json(&[
        "--compare",
        &a.address,
        &b.address,
        "--scenario",
        "depth",
        "--depths",
        "128,256,512",
        "--plots",
        plots,
    ]);
    json(&["--server", &a.address, "--scenario", "soak", "--turns", "5", "--plots", plots]);
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .map(|n| n.split_once("Z-").unwrap().1.to_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "depth-decode-by-depth.svg",
            "depth-engines.svg",
            "depth-ttft-by-prompt.svg",
            "soak-memory-A-resident.svg",
        ]
    );
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let svg = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("NaN"));
    }
}
