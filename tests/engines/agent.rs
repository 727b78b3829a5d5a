//! `mlxplan mcp` from the side of an agent: the official Python SDK lists and calls every tool.

use assert_cmd::cargo::cargo_bin;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::Command;

#[test]
fn the_official_sdk_lists_and_calls_every_tool() {
    let (model, mac) = ("qwen3-8b-4bit", "m4max-40/64");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let plan = root.join("examples/too-much.toml");
    let claims = root.join("examples/claims-r4.toml");
    let calls = json!([
        { "tool": "recommend", "arguments": { "model": model, "mac": mac } },
        { "tool": "predict", "arguments": { "model": model, "mac": mac, "kv_bits": 8 } },
        { "tool": "compare_buy", "arguments": { "model": [model], "budget": 3000 } },
        { "tool": "check", "arguments": { "plan": plan } },
        { "tool": "serve", "arguments": { "model": model, "mac": mac, "users": 2, "prompt": 512 } },
        { "tool": "session", "arguments": { "model": model, "mac": mac, "turn": "prompt=2000,cached=1500,output=100" } },
        { "tool": "inspect", "arguments": { "model": model } },
        { "tool": "why", "arguments": { "model": model, "mac": mac, "measured": 30 } },
        { "tool": "audit", "arguments": { "file": claims } },
    ]);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(calls.to_string().as_bytes()).unwrap();
    let python = crate::real::brought("agent/bin/python");
    let output = Command::new(python)
        .arg(root.join("tests/engines/agent.py"))
        .arg(cargo_bin("mlxplan"))
        .arg(file.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut unused: Vec<&Value> = seen["tools"].as_array().unwrap().iter().collect();
    for answer in seen["answers"].as_array().unwrap() {
        assert_eq!(answer["is_error"], false, "{answer}");
        assert!(answer["schema"].as_str().is_some_and(|s| s.starts_with("mlxplan.")), "{answer}");
        unused.retain(|name| **name != answer["tool"]);
    }
    assert_eq!(unused, Vec::<&Value>::new(), "every tool is called");
    assert!(seen["together"].as_array().unwrap().iter().all(|failed| *failed == false));
    assert_eq!(seen["prompts"].as_array().unwrap().len(), 4);
}
