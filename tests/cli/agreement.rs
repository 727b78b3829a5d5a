//! Every command that predicts says of a run what `predict` says of it: they ask the same estimator about the same file.

use crate::{json, run};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A model, a Mac and the engine that runs it.
const CASES: [(&str, &str, &str); 5] = [
    ("qwen3-8b", "m4max-40/64", "llama.cpp"),
    ("qwen3-8b", "m4max-40/64", "ollama"),
    ("gemma-3-12b-it-4bit", "m4max-40/64", "mlx-vlm"),
    ("gemma-3-12b-it-4bit", "m4max-40/64", "llama.cpp"),
    ("llama-3.3-70b-4bit", "m4max-40/64", "lm-studio"),
];

/// What is compared: the format, the peak, the speeds.
fn figures(answer: &Value) -> [Value; 5] {
    let at = |path: &str| answer.pointer(path).cloned().unwrap_or_default();
    [
        at("/model/quant"),
        at("/memory/peak_bytes"),
        at("/decode/tokens_per_s"),
        at("/decode/interval_90"),
        at("/prefill/ttft_s"),
    ]
}

/// The run; memory that is kept free hangs on the machine and stands elsewhere in answers on several.
fn request(answer: &Value) -> Value {
    let mut request = answer["request"].clone();
    request["reserve_bytes"].take();
    request
}

fn plan(folder: &Path, workload: &str, mac: &str) -> String {
    let file = folder.join("plan.toml");
    fs::write(&file, format!("macs = [\"{mac}\"]\n[[workload]]\n{workload}\n")).expect("written");
    file.display().to_string()
}

#[test]
fn commands_say_the_same_of_an_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    for (model, mac, engine) in CASES {
        let (_, p) = json(&format!("predict --model {model} --mac {mac} --engine {engine}"));
        let (_, c) = json(&format!("compare --model {model} --mac {mac} --engine {engine}"));
        assert_eq!(figures(&c["rows"][0]), figures(&p), "compare {model} {engine}");
        assert_eq!(request(&c), request(&p), "compare {model} {engine}");
        let workload = format!("model = \"{model}\"\nengine = \"{engine}\"");
        let (_, k) = json(&format!("check {}", plan(folder.path(), &workload, mac)));
        let k = &k["macs"][0]["workloads"][0];
        assert_eq!(figures(k), figures(&p), "check {model} {engine}");
        assert_eq!(request(k), request(&p), "check {model} {engine}");
        let (_, r) = json(&format!("recommend --model {model} --mac {mac} --engine {engine}"));
        let rows = r["choices"].as_array().expect("rows");
        assert!(rows.iter().any(|row| figures(row) == figures(&p)), "recommend {model} {engine}");
        let (_, v) =
            json(&format!("compare --model {model} --mac {mac} --engines {engine},mlx-lm"));
        let row = &v["rows"][0];
        assert_eq!(row["peak_bytes"], p["memory"]["peak_bytes"], "variants {model} {engine}");
        assert_eq!(row["tokens_per_s"], p["decode"]["tokens_per_s"], "variants {model} {engine}");
    }
}

/// What is taken for granted is said by every command, not by `predict` alone.
#[test]
fn commands_say_what_they_take_for_granted() {
    let (_, p) = json("predict --model qwen3-8b --mac m4max-40/64 --engine llama.cpp");
    let taken = p["warnings"][0].as_str().expect("a warning");
    let (_, c) = json("compare --model qwen3-8b --mac m4max-40/64 --engine llama.cpp");
    assert!(c["notes"].to_string().contains(taken), "{c:#}");
}

/// Limits and slots that are asked for hold for each of the engines.
#[test]
fn engines_beside_one_another_have_the_limits_that_are_asked_for() {
    let of = "--model qwen3-8b --mac m4max-40/64";
    for flags in ["--gpu-limit 5GB", "--budget-memory 8GB", "--parallel 8"] {
        let (_, p) = json(&format!("predict {of} --engine llama.cpp {flags}"));
        let (_, v) = json(&format!("compare {of} --engines llama.cpp,mlx-lm {flags}"));
        let row = &v["rows"][0];
        assert_eq!(row["fits"], p["memory"]["fits"], "{flags}");
        assert_eq!(row["peak_bytes"], p["memory"]["peak_bytes"], "{flags}");
    }
}

/// The keys of a plan are those of the command line.
#[test]
fn a_plan_takes_the_flags_of_a_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let mac = "m4max-40/64";
    for (keys, flags) in [
        ("model = \"qwen3-8b-4bit\"\nkv_type = \"q8_0\"", "--model qwen3-8b-4bit --kv-type q8_0"),
        ("model = \"qwen3-8b-4bit\"\nbatch = 2", "--model qwen3-8b-4bit --batch 2"),
        (
            "model = \"qwen3-8b\"\nengine = \"llama.cpp\"\nparallel = 2",
            "--model qwen3-8b --engine llama.cpp --parallel 2",
        ),
        (
            "model = \"gemma-3-12b-it-4bit\"\nengine = \"mlx-vlm\"\nimages = 2",
            "--model gemma-3-12b-it-4bit --engine mlx-vlm --images 2",
        ),
    ] {
        let (_, k) = json(&format!("check {}", plan(folder.path(), keys, mac)));
        let (_, p) = json(&format!("predict --mac {mac} {flags}"));
        let k = &k["macs"][0]["workloads"][0];
        assert_eq!(request(k), request(&p), "{flags}");
        assert_eq!(figures(k), figures(&p), "{flags}");
    }
    let both = plan(folder.path(), "model = \"qwen3-8b-4bit\"\nusers = 2\nbatch = 2", mac);
    let (code, _, text) = run(&format!("check {both}"));
    assert!(code == 2 && text.contains("says the same as users"), "{text}");
}

/// A result of `validate` on an M4 Max with one decode run at 4096 tokens.
pub fn own_run(folder: &Path, rate: f64) -> String {
    let row = serde_json::json!({
        "version": 1, "unix_s": 1_800_000_000, "mlx": "0.32.2", "clock": "gpu", "set": "model",
        "machine": { "system": "macos", "chip": "Apple M4 Max", "gpu_cores": 40, "cpu_cores": 16,
                     "memory_bytes": 64_u64 << 30, "backend": "metal" },
        "model": "qwen3-8b-4bit", "quant": "affine-4-g64", "random_weights": false, "context_tokens": 4096,
        "metric": "decode", "fidelity": "calibrated", "predicted": 90.0, "timing_log_error": 0.01,
        "interval_80": [85.0, 95.0], "interval_90": [80.0, 100.0], "measured": rate, "error": 0.0, "held_90": true,
        "noise": 0.01, "wall_tokens_per_s": rate, "rounds": 5, "mlx_peak_bytes": null, "process_bytes": null,
        "profile_unix_s": null,
    });
    let file = folder.join("run.json");
    let text =
        serde_json::json!({ "schema": "mlxplan.live_validation/1", "rows": [row] }).to_string();
    fs::write(&file, text).expect("written");
    file.display().to_string()
}

/// Own runs count in every command, on the machine that they were made on and for the model that was run.
#[test]
fn own_runs_count_in_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = own_run(folder.path(), 55.0);
    let (_, p) =
        json(&format!("predict --model qwen3-8b-4bit --mac m4max-40/64 --evidence {file}"));
    let (_, plain) = json("predict --model qwen3-8b-4bit --mac m4max-40/128");
    let rate = |v: &Value| v["decode"]["tokens_per_s"].as_f64().expect("a rate");
    assert!((rate(&p) / 55.0 - 1.0).abs() < 0.02, "{p:#}");
    let (_, c) = json(&format!(
        "compare --model qwen3-8b-4bit qwen3-14b-4bit --mac m4max-40/64 m4max-40/128 --evidence {file}"
    ));
    assert_eq!(figures(&c["rows"][0]), figures(&p));
    assert_eq!(c["rows"][1]["decode"]["tokens_per_s"], plain["decode"]["tokens_per_s"]);
    let (_, r) =
        json(&format!("recommend --model qwen3-8b-4bit --mac m4max-40/64 --evidence {file}"));
    assert_eq!(figures(&r["choices"][0]), figures(&p));
    let keys = format!("model = \"qwen3-8b-4bit\"\nevidence = \"{file}\"");
    let (_, k) = json(&format!("check {}", plan(folder.path(), &keys, "m4max-40/64")));
    assert_eq!(figures(&k["macs"][0]["workloads"][0]), figures(&p));
    for other in [
        format!("compare --model qwen3-8b-4bit --mac m4-10/32 --evidence {file}"),
        format!("recommend --model qwen3-14b-4bit --mac m4max-40/64 --evidence {file}"),
        format!("recommend --mac m4max-40/64 --evidence {file}"),
        format!("check {}", plan(folder.path(), &keys, "m4-10/32")),
    ] {
        let (code, _, text) = run(&other);
        assert!(code == 2 && text.contains("evidence"), "{other}: {text}");
    }
}
