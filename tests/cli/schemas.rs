//! The JSON schemas in `docs/schema` are those of the types, and what commands print is what they say.

use crate::json;
use crate::schema::{Checker, problems};
use mlxplan::cli::schemas;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema")
}

#[test]
fn the_files_are_what_the_types_say() {
    let all = schemas::all();
    for (name, schema) in &all {
        let path = folder().join(schemas::file_name(name));
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(stored, schemas::text(schema), "{}: run cargo xtask docs", path.display());
    }
    let files = std::fs::read_dir(folder()).expect("docs/schema").count();
    assert_eq!(files, all.len(), "docs/schema has files of schemas that are gone");
}

#[test]
fn names_are_used_once() {
    let names: Vec<&str> = schemas::all().iter().map(|(name, _)| *name).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
}

/// A command for every schema that can be had without MLX, and a second one where an answer has optional parts.
const COMMANDS: [&str; 41] = [
    "probe --from tests/fixtures/probe/m4pro-20-64gb.txt",
    "probe --from tests/fixtures/probe/vm-github-m1.txt",
    "models qwen3",
    "models --local",
    "models --families",
    "macs",
    "macs --chips",
    "inspect qwen3-30b-a3b-4bit",
    "inspect qwen3-0.6b-4bit --tensors --ops",
    "compare --model qwen3-14b-4bit --mac m3pro-18/36 m4max-40/128 --from m4-10/32",
    "compare --buy --model qwen3-32b-4bit --min-tok-s 20 --usd-per-kwh 0.3 --from m4-10/32",
    "check examples/chat-server.toml",
    "check examples/agents.toml",
    "check examples/too-much.toml",
    "check examples/finetune.toml",
    "compare --model qwen3-0.6b-4bit --mac m4max-40/64 --vary layers",
    "validate --against data/training.csv",
    "audit examples/claims-r3.toml",
    "audit tests/fixtures/cli/measurements.csv",
    "calibrate --list",
    "doctor",
    "predict --model qwen3-32b-4bit --mac m4max-40/64 --context 32768 --depths 0,4096 --explain",
    "predict --model llama-3.3-70b-4bit --mac m4max-40/64 --context 130000",
    "predict --model qwen3-8b-4bit --mac m4-10/32 --engine llama.cpp",
    "predict --model qwen3-32b-4bit --mac m4max-40/64 --draft qwen3-0.6b",
    "recommend --model qwen3-32b-4bit --mac m4max-40/64 --draft auto",
    "recommend --model 32B-4bit --mac m4max-40/128",
    "recommend --mac m4-10/32",
    "recommend --model qwen3-8b-4bit --mac m4max-40/64 --users 4",
    "recommend --model qwen3-8b-4bit --mac m4max-40/64 --users 4 --rate 0.1 --min-tok-s 10",
    "predict --model qwen3-8b-4bit --mac m4max-40/64 --turn prompt=8000,cached=6000,output=400",
    "predict --model qwen3-8b-4bit --mac m4max-40/64 --session turns=4,system=2000,prompt=300,output=400",
    "compare --model qwen3-32b-4bit --cluster 2xm3ultra-80/96",
    "compare --model qwen3-8b-4bit --mac m4max-40/64 --vary kv",
    "compare --model qwen3-8b-4bit --mac m4max-40/64 --engines mlx-lm,llama.cpp",
    "finetune --model qwen3-0.6b-4bit --mac m4max-40/64",
    "recommend --model 32B-4bit",
    "validate",
    "why --model qwen3.6-35b-a3b-8bit --mac mbp16-m5max-40-2026/128 --engine omlx@0.6.4 --macos 27.0 --measured 60",
    "why --model qwen3-8b-4bit --mac m2max-38/32 --ttft 20 --context 4096 --cached 4000 --measured 300",
    "",
];

/// Schemas whose answers other tests look at: they need a server, the hub, MLX or two stored profiles.
const ELSEWHERE: [&str; 5] = [
    "mlxplan.bench/1",
    "mlxplan.live_validation/1",
    "mlxplan.profile/1",
    "mlxplan.profile_comparison/1",
    "mlxplan.update/1",
];

#[test]
fn answers_are_what_their_schemas_say() {
    let mut seen: BTreeSet<String> = ELSEWHERE.map(str::to_owned).into();
    for command in COMMANDS {
        let (_, answer) = json(command);
        let problems = problems(&answer);
        assert!(problems.is_empty(), "{command}:\n{}", problems.join("\n"));
        seen.extend(answer["schema"].as_str().map(str::to_owned));
    }
    let all: BTreeSet<String> = schemas::all().iter().map(|(name, _)| (*name).to_owned()).collect();
    let unseen: Vec<&String> = all.difference(&seen).collect();
    assert!(unseen.is_empty(), "no command above answers with {unseen:?}");
}

#[test]
fn the_validator_finds_what_is_wrong() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"],
        "properties": { "a": { "type": ["integer", "null"] }, "b": { "$ref": "#/$defs/Word" } },
        "$defs": { "Word": { "enum": ["x", "y"] } },
    });
    let problems = |value: Value| Checker { root: &schema }.problems(&value).len();
    assert_eq!(problems(serde_json::json!({ "a": 1, "b": "x" })), 0);
    assert_eq!(problems(serde_json::json!({ "a": null })), 0);
    assert_eq!(problems(serde_json::json!({ "b": "z" })), 2);
    assert_eq!(problems(serde_json::json!({ "a": 1.5, "c": 1 })), 2);
}
