//! `mlxplan bench` as users run it.

use crate::fake::{Conduct, Fake, MODEL, Program};
use serde_json::Value;
use std::process::Output;
use std::time::Duration;

/// Runs `mlxplan bench` without pauses.
pub fn bench(arguments: &[&str]) -> Output {
    let output = assert_cmd::Command::cargo_bin("mlxplan")
        .unwrap()
        .args(["bench", "--cool-down", "0"])
        .args(if arguments.contains(&"--generate") { &[][..] } else { &["--generate", "12"] })
        .args(if arguments.contains(&"--trials") { &[][..] } else { &["--trials", "3"] })
        .args(arguments)
        .env("COLUMNS", "200")
        .timeout(Duration::from_secs(400))
        .output();
    output.unwrap()
}

pub fn json(arguments: &[&str]) -> Value {
    let output = bench(&[arguments, &["--json"]].concat());
    assert!(output.status.code().is_some_and(|c| c < 2), "{}", stderr(&output));
    let answer = serde_json::from_slice(&output.stdout).unwrap();
    let problems = crate::schema::problems(&answer);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    answer
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_server_is_measured_with_every_trial_kept() {
    let fake = Fake::start(Program::OpenAi, Conduct::Good);
    let report = json(&["--server", &fake.address, "--prompts", "question,code"]);
    assert_eq!(report["schema"], "mlxplan.bench/1");
    assert_eq!(report["engines"][0]["server"]["model"]["id"], MODEL);
    let trials = report["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 1 + 2 * 3);
    assert_eq!(trials[0]["warm_up"], true);
    for t in &trials[1..] {
        assert_eq!((&t["generated_tokens"], &t["failure"]), (&12.into(), &Value::Null));
        assert_eq!(t["token_times_s"].as_array().unwrap().len(), 12);
        let times = t["token_times_s"].as_array().unwrap();
        let span = times[11].as_f64().unwrap() - times[0].as_f64().unwrap();
        let rate = t["decode_tokens_per_s"].as_f64().unwrap();
        assert!((rate - 11.0 / span).abs() < 1e-6 * rate);
    }
    let decode = &report["summary"][0]["metrics"]["decode_tokens_per_s"];
    assert_eq!(decode["n"], 3);
    assert!(decode["interval_95"][0].as_f64() <= decode["median"].as_f64());
    // No two prompts begin alike, so that no prefix cache helps.
    let cached = trials.iter().filter_map(|t| t["cached_tokens"].as_u64());
    assert!(cached.max() <= Some(2), "{trials:?}");
}

#[test]
fn two_engines_are_measured_in_turn_and_compared() {
    let fast = Fake::start(Program::OpenAi, Conduct::Good);
    let slow = Fake::start(Program::LlamaCpp, Conduct::Slow(Duration::from_millis(10)));
    let report =
        json(&["--compare", &fast.address, &slow.address, "--prompts", "story", "--trials", "4"]);
    let order: Vec<&str> = report["trials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["engine"].as_str().unwrap())
        .collect();
    assert_eq!(order.concat(), "ABABBAABBA");
    assert_eq!(fast.prompts(), slow.prompts());
    let ratio = &report["comparison"][0]["decode_ratio"];
    assert_eq!(ratio["n"], 4);
    assert!(ratio["median"].as_f64().unwrap() > 1.2, "{ratio}");
    let table = bench(&["--compare", &fast.address, &slow.address, "--prompts", "story"]);
    let text = stdout(&table);
    assert!(text.contains("A against B") && text.contains("×"), "{text}");
}

#[test]
fn failures_are_counted_and_nothing_is_repeated() {
    let fake = Fake::start(Program::OpenAi, Conduct::EveryOther);
    let arguments = ["--server", &fake.address, "--prompts", "story", "--trials", "4"];
    let report = json(&[&arguments[..], &["--warm-up", "0"]].concat());
    assert_eq!(fake.generations(), 4);
    assert_eq!(report["summary"][0]["failures"]["status"], 2);
    assert_eq!(report["summary"][0]["metrics"]["decode_tokens_per_s"]["n"], 2);
    let output = bench(&[&arguments[..], &["--warm-up", "0"]].concat());
    let text = stdout(&output);
    assert!(text.contains("4, 2 failed") && text.contains("out of memory"), "{text}");
}

#[test]
fn a_server_that_only_fails_is_exit_1() {
    let fake = Fake::start(Program::OpenAi, Conduct::Status(429, "slow down"));
    let output = bench(&["--server", &fake.address, "--prompts", "story"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stdout(&output).contains("rate limited"), "{}", stdout(&output));
}

#[test]
fn the_depth_sweep_checks_the_length_with_the_engine() {
    let fake = Fake::start(Program::LlamaCpp, Conduct::Good);
    let report = json(&["--server", &fake.address, "--scenario", "depth", "--depths", "256,1024"]);
    for (case, depth) in [(0, 256.0), (1, 1024.0)] {
        let seen = &report["summary"][case]["metrics"]["prompt_tokens"]["median"];
        assert!((seen.as_f64().unwrap() / depth - 1.0_f64).abs() < 0.03, "{seen}");
    }
    let cut = Fake::start(Program::Ollama, Conduct::Truncate(500));
    let report = json(&["--server", &cut.address, "--scenario", "depth", "--depths", "256,1024"]);
    assert_eq!(report["summary"][0]["flags"]["truncated_prompt"], Value::Null);
    assert_eq!(report["summary"][1]["flags"]["truncated_prompt"], 3);
}

#[test]
fn an_engine_without_counts_has_no_depth_sweep() {
    let fake = Fake::start(Program::OpenAi, Conduct::NoUsage);
    let output = bench(&["--server", &fake.address, "--scenario", "depth"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no prompt_tokens"), "{}", stderr(&output));
}

#[test]
fn a_tokenizer_counts_what_the_server_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = r#"{ "version": "1.0", "model": { "type": "WordLevel", "vocab": { "word": 0, "[UNK]": 1 },
        "unk_token": "[UNK]" }, "pre_tokenizer": { "type": "Whitespace" } }"#;
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
    let path = folder.path().to_str().unwrap();
    let fake = Fake::start(Program::OpenAi, Conduct::NoUsage);
    let report = json(&["--server", &fake.address, "--prompts", "story", "--tokenizer", path]);
    let trial = &report["trials"][1];
    assert_eq!(trial["count_source"], "local_tokenizer");
    assert_eq!((&trial["generated_tokens"], &trial["flags"]), (&12.into(), &Value::Array(vec![])));
    assert!(trial["decode_tokens_per_s"].as_f64() > Some(1.0), "{trial}");
    assert!(trial["prompt_tokens"].as_u64() > Some(5), "{trial}");
    assert_eq!(report["engines"][0]["tokenizer"], path);
    let notes = report["notes"].to_string();
    assert!(notes.contains("gives no token counts") && notes.contains(path), "{notes}");
    // Without one, there are no rates, and the way to them is named.
    let output = bench(&["--server", &fake.address, "--prompts", "story"]);
    assert!(stdout(&output).contains("--tokenizer"), "{}", stdout(&output));
    let output = bench(&["--server", &fake.address, "--tokenizer", "/nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("tokenizer.json"), "{}", stderr(&output));
}

#[test]
fn a_run_is_drawn_as_svg_or_png() {
    let folder = tempfile::tempdir().unwrap();
    let fakes = [Conduct::Good, Conduct::Slow(Duration::from_millis(5))]
        .map(|conduct| Fake::start(Program::OpenAi, conduct));
    let plots = folder.path().to_str().unwrap();
    let run = |format: &str| {
        let [a, b] = &fakes;
        let engines = ["--compare", &a.address, &b.address, "--prompts", "story"];
        bench(&[&engines[..], &["--plots", plots, "--plot-format", format]].concat())
    };
    for (format, begin) in [("svg", &b"<svg"[..]), ("png", &b"\x89PNG"[..])] {
        let output = run(format);
        assert!(output.status.success(), "{}", stderr(&output));
        let files = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path());
        let files: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == format)).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert!(std::fs::read(&files[0]).unwrap().starts_with(begin));
    }
}

#[test]
fn in_process_needs_mlx_and_words() {
    let fake = Fake::start(Program::OpenAi, Conduct::Good);
    let output = bench(&["--compare", "mlx:/no/such/folder", &fake.address]);
    assert_eq!(output.status.code(), Some(2));
    let expected = if cfg!(feature = "mlx") { "no folder with weights" } else { "without MLX" };
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[test]
fn results_are_stored_and_csv_and_markdown_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(Program::OpenAi, Conduct::Good);
    let results = folder.path().to_str().unwrap();
    let arguments = ["--server", &fake.address, "--prompts", "plan", "--results", results];
    let csv = stdout(&bench(&[&arguments[..], &["--format", "csv"]].concat()));
    assert!(csv.starts_with("case,prompt tokens,TTFT"), "{csv}");
    let markdown = stdout(&bench(&[&arguments[..], &["--format", "markdown"]].concat()));
    assert!(markdown.contains("| plan |"), "{markdown}");
    let names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let trials = std::fs::read_to_string(folder.path().join("trials.csv")).unwrap();
    assert_eq!(trials.lines().count(), 1 + 2 * 4);
}

#[test]
fn other_machines_and_secrets_are_guarded() {
    let output = bench(&["--server", "http://192.0.2.7:1234"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--allow-remote"), "{}", stderr(&output));
    let fake = Fake::start(Program::OpenAi, Conduct::RepeatsKey);
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().to_str().unwrap();
    let output = assert_cmd::Command::cargo_bin("mlxplan")
        .unwrap()
        .args(["bench", "--server", &fake.address, "--cool-down", "0", "--results", results, "-v"])
        .env("MLXPLAN_API_KEY", "sk-very-secret")
        .output()
        .unwrap();
    let sent = fake.requests.lock().unwrap().last().unwrap().1.clone();
    assert_eq!(sent.as_deref(), Some("Bearer sk-very-secret"));
    let mut text = stdout(&output) + &stderr(&output);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        text += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    assert!(text.contains("bad key") && !text.contains("very-secret"), "{text}");
}

#[test]
fn without_a_server_the_usual_ones_are_named() {
    let output = bench(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("localhost:11434"), "{}", stderr(&output));
}
