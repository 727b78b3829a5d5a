//! The real `mlx_lm.lora` on SmolLM2-135M: the batches that it makes of data, and what a run of it holds.

use crate::real::brought;
use mlxplan::engine::lora::config::SampleFields;
use mlxplan::engine::lora::data::{TokenCounter, TrainingData};
use mlxplan::engine::text::Text;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Runs the script of this test; returns what it prints as JSON.
fn python(arguments: &[&str]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/training.py");
    let mut command = Command::new(brought("venv/bin/python"));
    let output = command.arg(script).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"))
}

/// So many words, by a number.
fn words(count: u32, seed: u32) -> String {
    const WORDS: [&str; 9] =
        ["the", "memory", "bandwidth", "of", "tokens", "naïve", "(chip)", "42", "планирование"];
    let word = |i: u32| WORDS[((seed + 7 * i + i * i) % 9) as usize];
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}

/// Samples of a kind, with lengths that are padded, cut, and left over.
fn samples(kind: &str) -> String {
    let sample = |i: u32| {
        let (question, answer) = (words(3 + 11 * i % 60, i), words(1 + 37 * i % 180, i + 1));
        match kind {
            "chat" => json!({ "messages": [
                { "role": "user", "content": question },
                { "role": "assistant", "content": answer },
            ] }),
            "completions" => json!({ "prompt": question, "completion": answer }),
            _ => json!({ "text": format!("{question} {answer}") }),
        }
    };
    (0..42).map(|i| format!("{}\n", sample(i))).collect()
}

#[test]
fn data_make_the_batches_of_mlx_lm() {
    let model = brought("models/SmolLM2-135M-Instruct-4bit");
    for kind in ["chat", "completions", "text"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("train.jsonl"), samples(kind)).unwrap();
        let counter = TokenCounter::Tokenizer(Box::new(Text::load(Path::new(&model)).unwrap()));
        let data = TrainingData::read(folder.path(), &SampleFields::default(), &counter).unwrap();
        for (batch, longest, mask) in [(4, 2048, false), (4, 128, false), (3, 300, true)] {
            // mlx-lm masks no prompt of plain texts.
            if mask && kind == "text" {
                continue;
            }
            let made = data.batches(batch, longest, mask).unwrap();
            let mut ours: Vec<[u64; 2]> =
                made.iter().map(|b| [u64::from(b.tokens), b.counted]).collect();
            ours.sort_unstable();
            let masked = if mask { "mask" } else { "all" };
            let (batch, longest) = (batch.to_string(), longest.to_string());
            let path = folder.path().to_str().unwrap();
            let theirs = python(&["batches", &model, path, &batch, &longest, masked]);
            assert_eq!(
                json!(ours),
                theirs,
                "{kind}, batches of {batch}, {longest} tokens, {masked}"
            );
        }
    }
}

#[test]
fn a_run_holds_what_is_planned() {
    let model = brought("models/SmolLM2-135M-Instruct-4bit");
    let out = tempfile::tempdir().unwrap();
    let real = python(&["run", &model, out.path().to_str().unwrap()]);
    let output = assert_cmd::Command::cargo_bin("mlxplan")
        .unwrap()
        .args(["finetune", "--model", &model, "--batch-size", "2", "--longest", "33"])
        .args(["--mac", "m4max-40/64", "--json"])
        .output()
        .unwrap();
    let planned: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |v: &Value| v.as_f64().unwrap_or_else(|| panic!("{v}"));
    assert_eq!(planned["trainable_parameters"], real["parameters"]);
    assert_eq!(planned["trained_bytes"], real["trained_bytes"]);
    assert_eq!(planned["optimizer_bytes"], real["optimizer_bytes"]);
    // The file has a header with the names.
    let header = number(&real["adapter_file_bytes"]) - number(&planned["trained_bytes"]);
    assert!((0.0..100_000.0).contains(&header), "{header}");
    // What stays after the last step: weights, adapters, optimizer; and the batch, which is nothing.
    let kept = number(&real["loaded_bytes"])
        + number(&planned["trained_bytes"])
        + number(&planned["optimizer_bytes"]);
    let active = number(&real["active_bytes"]);
    assert!((active / kept - 1.0).abs() < 0.01, "{active} of {kept}");
    // And it learns: the same two samples come by three times.
    let losses: Vec<f64> = real["losses"].as_array().unwrap().iter().map(number).collect();
    assert!(losses.len() == 3 && losses[2] < losses[0], "{losses:?}");
}
