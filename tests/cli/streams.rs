//! Both streams: they may be closed or full, and texts of others do nothing to a terminal.

use crate::mlxplan;
use std::process::{Command, Output};

fn bash(script: &str) -> Output {
    Command::new("bash")
        .args(["-c", script])
        .env("MLXPLAN", assert_cmd::cargo::cargo_bin("mlxplan"))
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .output()
        .unwrap()
}

#[test]
fn exit_codes_do_not_depend_on_standard_error() {
    for (arguments, code) in [
        ("predict --model nothing-like-it --mac m4max-40/64", 2),
        ("recomend", 2),
        ("models --local", 0),
        ("macs m4max", 0),
        ("why --model qwen3-0.6b-4bit --mac m4max-40/64 --measured 100", 0),
        ("predict --model qwen3-0.6b-4bit --mac m4max-40/64 --turn prompt=800,output=40", 0),
        ("predict --model llama-3.3-70b-4bit --mac m4max-40/48 --context 8192", 1),
    ] {
        for err in ["2>/dev/full", "2>&-", "2> >(exec true)"] {
            let output = bash(&format!("$MLXPLAN {arguments} {err}"));
            assert_eq!(output.status.code(), Some(code), "{arguments} {err}: {output:?}");
        }
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error_and_a_closed_pipe_is_none() {
    for (script, code) in [
        ("$MLXPLAN macs >/dev/full", 2),
        ("$MLXPLAN macs >/dev/full 2>/dev/full", 2),
        ("$MLXPLAN macs | true; exit ${PIPESTATUS[0]}", 0),
        ("$MLXPLAN --help | true; exit ${PIPESTATUS[0]}", 0),
    ] {
        assert_eq!(bash(script).status.code(), Some(code), "{script}");
    }
}

/// A text that would clear the screen, set its title and turn the order of letters.
const HOSTILE: &str = "x\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}y";

fn is_clean(what: &str, output: &Output) {
    for bytes in [&output.stdout, &output.stderr] {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(acts), "{what}: {text:?}");
    }
}

#[test]
fn texts_of_others_do_nothing_to_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join(format!("{HOSTILE}.json"));
    let text = serde_json::json!({ "model_type": HOSTILE, "hidden_size": 8 });
    std::fs::write(&config, text.to_string()).unwrap();
    let claims = folder.path().join("claims.toml");
    let escaped = r"x\u001b[2J\u009b31m\u202ey";
    let claim = format!(
        "[[claim]]\nid = \"{escaped}\"\nmodel = \"qwen3-8b-4bit\"\nmachine = \"m4max-40/64\"\ndecode_tokens_per_s = 9000\n"
    );
    std::fs::write(&claims, claim).unwrap();
    for format in ["table", "json", "csv", "markdown"] {
        for arguments in [
            vec!["predict", "--model", HOSTILE, "--mac", "m4max-40/64"],
            vec!["inspect", config.to_str().unwrap()],
            vec!["audit", claims.to_str().unwrap()],
            vec!["macs", HOSTILE],
            vec![HOSTILE],
            vec!["predict", HOSTILE],
        ] {
            let mut run = mlxplan("--format");
            let output = run.arg(format).args(&arguments).output().unwrap();
            is_clean(&format!("{format} {arguments:?}"), &output);
        }
    }
}

#[test]
fn cells_are_no_formulas() {
    let folder = tempfile::tempdir().unwrap();
    let claims = folder.path().join("claims.toml");
    let claim = "[[claim]]\nid = \"=HYPERLINK(1)\"\nmodel = \"qwen3-8b-4bit\"\nmachine = \"m4max-40/64\"\n\
                 decode_tokens_per_s = 9000\n";
    std::fs::write(&claims, claim).unwrap();
    let output = mlxplan("audit --format csv").arg(&claims).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\n'=HYPERLINK(1),"), "{text} {:?}", output.stderr);
}

#[test]
fn planning_needs_no_home() {
    let plan = "predict --model qwen3-4b-4bit --mac m4max-40/64";
    for home in ["/dev/null", "/dev/null/deeper", "/proc/self/mem", ""] {
        let mut run = mlxplan(plan);
        let output = run.env_remove("XDG_CONFIG_HOME").env("HOME", home).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{home}: {err}");
        assert_eq!(err.contains("HOME is"), !home.is_empty(), "{home}: {err}");
    }
    let output = mlxplan(plan).env("MLXPLAN_DATA_DIR", "").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("MLXPLAN_DATA_DIR") && err.contains("empty"), "{err}");
    let output = mlxplan(plan).env("MLXPLAN_DATA_DIR", "/nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("MLXPLAN_DATA_DIR"));
}
