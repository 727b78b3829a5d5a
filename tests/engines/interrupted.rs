//! Runs that are ended early, and streams that nobody reads.

use crate::cli::{bench, stderr, stdout};
use crate::fake::{Conduct, Fake, Program};
use crate::signals::with_default_signals;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A soak without end.
fn soak(fake: &Fake, results: &Path) -> Child {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("mlxplan"));
    command
        .args(["bench", "--cool-down", "0", "--generate", "8", "--scenario", "soak"])
        .args(["--turns", "1000000", "--json", "--server", &fake.address, "--results"])
        .arg(results)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    with_default_signals(&mut command).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    all.filter(|p| p.to_string_lossy().ends_with(ending)).collect()
}

/// Waits until so many lines are on disk; returns them.
fn journal(folder: &Path, lines: usize) -> Vec<String> {
    let begin = Instant::now();
    loop {
        let text =
            files(folder, ".trials.jsonl").first().and_then(|p| std::fs::read_to_string(p).ok());
        let found: Vec<String> = text.unwrap_or_default().lines().map(str::to_owned).collect();
        if found.len() >= lines {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_signal_ends_a_run_with_what_it_has() {
    for name in ["-INT", "-TERM", "-HUP"] {
        let fake = Fake::start(Program::OpenAi, Conduct::Good);
        let folder = tempfile::tempdir().unwrap();
        let child = soak(&fake, folder.path());
        journal(folder.path(), 6);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{name}: {}", stderr(&output));
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(record["incomplete"], true);
        let trials = record["trials"].as_array().unwrap().len();
        assert!(trials >= 5 && record["soak"][0]["turns"] == trials, "{trials}");
        assert!(record["notes"].to_string().contains("incomplete"));
        assert_eq!(files(folder.path(), ".json").len(), 1);
        assert!(files(folder.path(), ".trials.jsonl").is_empty());
    }
}

#[test]
fn a_killed_run_leaves_its_trials() {
    let fake = Fake::start(Program::OpenAi, Conduct::Good);
    let folder = tempfile::tempdir().unwrap();
    let mut child = soak(&fake, folder.path());
    journal(folder.path(), 6);
    signal(&child, "-KILL");
    child.wait().unwrap();
    let lines = journal(folder.path(), 6);
    assert!(lines[0].contains("mlxplan.bench_trials/1"), "{}", lines[0]);
    for line in &lines[1..] {
        let trial: Value = serde_json::from_str(line).unwrap();
        assert_eq!(trial["generated_tokens"], 8);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let fake = Fake::start(Program::OpenAi, Conduct::Slow(Duration::from_secs(30)));
    let folder = tempfile::tempdir().unwrap();
    let child = soak(&fake, folder.path());
    journal(folder.path(), 1);
    let begin = Instant::now();
    while fake.generations() == 0 {
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    let begin = Instant::now();
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(500));
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    assert!(stderr(&output).contains("once more"), "{}", stderr(&output));
}

#[test]
fn a_run_does_not_need_standard_error() {
    let fake = Fake::start(Program::OpenAi, Conduct::Good);
    for closed in ["2>/dev/full", "2>&-", "2> >(exec true)"] {
        let script = format!(
            "exec \"$0\" bench --cool-down 0 --generate 8 --trials 2 --prompts code --json --server {} {closed}",
            fake.address
        );
        let binary = assert_cmd::cargo::cargo_bin("mlxplan");
        let output: Output =
            Command::new("bash").args(["-c", &script]).arg(binary).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{closed}");
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(record["trials"].as_array().unwrap().len(), 3, "{closed}");
        assert!(record.get("incomplete").is_none());
    }
}

#[test]
fn what_was_held_back_is_said_and_audited() {
    let fake = Fake::start(Program::OpenAi, Conduct::HeldBack(Duration::from_millis(200)));
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().to_str().unwrap();
    let output = bench(&["--server", &fake.address, "--prompts", "code", "--results", results]);
    let text = stdout(&output);
    assert!(text.contains("held back"), "{text}");
    let file = files(folder.path(), ".json").remove(0);
    let mut audit = Command::new(assert_cmd::cargo::cargo_bin("mlxplan"));
    let output = audit.arg("audit").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    assert!(stdout(&output).contains("arrival-times"), "{}", stdout(&output));
}
