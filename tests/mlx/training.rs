//! Fine-tuning of small random models: the step as the graph has it, executed by MLX, against the real `mlx_lm.lora` on the
//! same weights and batches, in float32.
//!
//! Losses, trained arrays, their number and the bytes of the optimizer are compared, so that the backward pass is proved by
//! numbers and not by counts alone.

use crate::reference::python;
use mlxplan::engine::mlx::{LoadedWeights, TrainingProcess};
use mlxplan::graph::Graph;
use mlxplan::graph::training::{FineTuneType, FineTuning, Optimizer};
use mlxplan::model::{Config, DType, Scheme};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Batches that are trained on, samples in one, and their tokens.
const BATCHES: u32 = 4;
const SAMPLES: u32 = 2;
const TOKENS: u32 = 24;
const LEARNING_RATE: f64 = 1e-3;

/// A case of `engine_cases.json` and the options with which it is trained.
fn cases() -> Vec<(&'static str, Value)> {
    let qv = ["self_attn.q_proj", "self_attn.v_proj"];
    vec![
        ("llama", json!({})),
        ("llama", json!({ "keys": qv, "optimizer": "sgd" })),
        ("llama", json!({ "grad_checkpoint": true, "num_layers": 3 })),
        ("llama", json!({ "grad_accumulation_steps": 2, "rank": 4 })),
        ("llama", json!({ "fine_tune_type": "full", "optimizer": "adamw" })),
        ("llama", json!({ "fine_tune_type": "full", "optimizer": "adafactor" })),
        ("llama", json!({ "fine_tune_type": "dora", "optimizer": "sgd" })),
        ("llama 4bit", json!({ "optimizer": "sgd", "grad_checkpoint": true })),
        ("llama mxfp4", json!({ "optimizer": "sgd" })),
        ("qwen3", json!({ "optimizer": "sgd" })),
        ("gemma2", json!({ "optimizer": "sgd", "grad_checkpoint": true })),
        ("gemma3_text", json!({ "optimizer": "sgd" })),
        ("phi3", json!({ "optimizer": "sgd" })),
        ("starcoder2", json!({ "fine_tune_type": "full", "optimizer": "sgd" })),
        ("stablelm", json!({ "optimizer": "sgd" })),
        ("gpt_oss", json!({ "optimizer": "sgd" })),
        ("qwen3_moe 4bit", json!({ "optimizer": "sgd" })),
        ("mixtral", json!({ "fine_tune_type": "full", "optimizer": "sgd" })),
        ("deepseek_v3", json!({ "optimizer": "sgd" })),
        ("glm4_moe", json!({ "optimizer": "sgd", "grad_checkpoint": true })),
    ]
}

/// What is counted and not yet executed: the step ends with an error, which this test expects, so that it is seen when it no
/// longer does.
const NOT_EXECUTED: [&str; 1] = ["qwen3_next"];

fn options(o: &Value) -> FineTuning {
    let number = |key: &str, plain: u32| o[key].as_u64().map_or(plain, |n| n as u32);
    FineTuning {
        kind: FineTuneType::ALL
            .into_iter()
            .find(|kind| o["fine_tune_type"] == kind.name())
            .unwrap_or_default(),
        optimizer: Optimizer::ALL
            .into_iter()
            .find(|optimizer| o["optimizer"] == optimizer.name())
            .unwrap_or_default(),
        layers: o["num_layers"].as_u64().map(|n| n as u32),
        rank: number("rank", 8),
        keys: o["keys"]
            .as_array()
            .map(|keys| keys.iter().filter_map(|k| k.as_str().map(str::to_owned)).collect()),
        checkpoint: o["grad_checkpoint"] == true,
        accumulation: number("grad_accumulation_steps", 1),
        batch: SAMPLES,
        tokens: TOKENS,
        ..FineTuning::default()
    }
}

/// What came out of a run.
struct Trained {
    losses: Vec<f32>,
    before: Vec<f32>,
    after: Vec<f32>,
    parameters: u64,
    optimizer_bytes: u64,
}

/// Token ids of a batch with what counts of each sample; the same for both sides.
fn batch(number: u32, vocabulary: u64) -> (Vec<Vec<u32>>, Vec<[u32; 2]>) {
    let mut next = u64::from(number) + 1;
    let mut token = || {
        next = next * 31 % 65_537;
        (next % vocabulary) as u32
    };
    let ids = (0..SAMPLES).map(|_| (0..=TOKENS).map(|_| token()).collect()).collect();
    // One sample whose prompt is masked, and one with padding.
    (ids, vec![[5, TOKENS], [0, TOKENS - 7]])
}

/// Runs a case here and writes what mlx-lm needs to repeat it.
fn run(case: &Value, o: &Value, folder: &Path) -> Result<Trained, String> {
    let config = Config::new(case["config"].as_object().expect("an object").clone());
    let mut graph = Graph::new(&config, DType::F32).expect("a known family");
    if let Some(scheme) = case["scheme"].as_str() {
        graph.quantize(scheme.parse::<Scheme>().expect("a scheme")).expect("fitting groups");
    }
    let text = |e: mlxplan::engine::mlx::EngineError| e.to_string();
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("writable");
    write("config.json", case["config"].to_string());
    write("scheme.txt", case["scheme"].as_str().unwrap_or_default().to_owned());
    let weights = LoadedWeights::random(graph.params(), 1).map_err(text)?;
    weights.save(graph.params(), &folder.join("model.safetensors")).map_err(text)?;
    let options = options(o);
    let plan = graph.training_plan(&options).map_err(|e| e.to_string())?;
    let mut process =
        TrainingProcess::new(&graph, weights, &options, LEARNING_RATE).map_err(text)?;
    let start = process.trained().map_err(text)?;
    let names: Vec<&String> = start.iter().map(|(name, _)| name).collect();
    let before: Vec<f32> = start.iter().flat_map(|(_, values)| values.clone()).collect();
    let bytes: Vec<u8> = before.iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(folder.join("start.bin"), bytes).expect("writable");
    let vocabulary = case["config"]["vocab_size"].as_u64().unwrap_or(64);
    let batches: Vec<_> = (0..BATCHES).map(|n| batch(n, vocabulary)).collect();
    let mut told = o.as_object().expect("an object").clone();
    told.insert("batch_size".to_owned(), SAMPLES.into());
    told.insert("learning_rate".to_owned(), LEARNING_RATE.into());
    told.entry("num_layers").or_insert((-1).into());
    let training = json!({ "options": told, "names": names, "batches": batches });
    write("training.json", training.to_string());
    let mut losses = Vec::new();
    for (ids, lengths) in &batches {
        losses.push(process.step(&ids.concat(), lengths).map_err(text)?);
    }
    let after = process.trained().map_err(text)?.into_iter().flat_map(|(_, values)| values);
    Ok(Trained {
        losses,
        before,
        after: after.collect(),
        parameters: plan.parameters(),
        optimizer_bytes: plan.optimizer_bytes(options.optimizer),
    })
}

/// Root of the mean square.
fn size(values: impl Iterator<Item = f32>) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for x in values {
        sum += f64::from(x) * f64::from(x);
        n += 1.0;
    }
    (sum / f64::max(n, 1.0)).sqrt()
}

/// What is wrong with a case, if anything.
fn difference(ours: &Trained, folder: &Path) -> Option<String> {
    let Ok(facts) = fs::read_to_string(folder.join("facts.json")) else {
        return Some(fs::read_to_string(folder.join("error.txt")).unwrap_or_default());
    };
    let facts: Value = serde_json::from_str(&facts).expect("JSON");
    if facts["parameters"] != ours.parameters || facts["optimizer_bytes"] != ours.optimizer_bytes {
        return Some(format!("{} of {facts}", ours.parameters));
    }
    let losses = facts["losses"].as_array().expect("losses").iter();
    let off = losses
        .zip(&ours.losses)
        .map(|(theirs, ours)| (theirs.as_f64().expect("a loss") / f64::from(*ours) - 1.0).abs());
    let off = off.fold(0.0, |worst: f64, x| if x.is_nan() { f64::INFINITY } else { worst.max(x) });
    let bytes = fs::read(folder.join("trained.bin")).expect("trained");
    let theirs: Vec<f32> =
        bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
    let moved = size(ours.after.iter().zip(&ours.before).map(|(a, b)| a - b));
    let apart = size(ours.after.iter().zip(&theirs).map(|(a, b)| a - b)) / moved;
    let same = theirs.len() == ours.after.len() && off < LOSS && apart < APART;
    (!same)
        .then(|| format!("losses off by {off:.1e}, trained arrays by {apart:.1e} of their change"))
}

/// Most that losses may differ, relative, and trained arrays in units of how far they moved: Adam divides small numbers.
const LOSS: f64 = 1e-4;
const APART: f64 = 0.03;

#[test]
fn training_is_that_of_mlx_lm() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/engine_cases.json");
    let known: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(file).expect("readable")).expect("JSON");
    let root = tempfile::tempdir().expect("a temporary folder");
    let (mut made, mut wrong) = (Vec::new(), Vec::new());
    for (i, (name, options)) in cases().into_iter().enumerate() {
        let case = known.iter().find(|c| c["name"] == name).expect("a known case");
        let folder = root.path().join(format!("{i:02}"));
        fs::create_dir(&folder).expect("a new folder");
        let label = format!("{name} {options}");
        match run(case, &options, &folder) {
            Ok(trained) => made.push((label, folder, trained)),
            Err(e) => wrong.push(format!("{label}: {e}")),
        }
    }
    for name in NOT_EXECUTED {
        let case = known.iter().find(|c| c["name"] == name).expect("a known case");
        let folder = root.path().join(name);
        fs::create_dir(&folder).expect("a new folder");
        if run(case, &json!({ "optimizer": "sgd" }), &folder).is_ok() {
            wrong.push(format!("{name} is executed now: make it a case"));
        }
        fs::remove_dir_all(&folder).expect("removed");
    }
    python("mlx/training.py", &[root.path()]);
    for (label, folder, trained) in made {
        wrong.extend(difference(&trained, &folder).map(|what| format!("{label}: {what}")));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
