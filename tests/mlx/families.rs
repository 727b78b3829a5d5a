//! Small random models of every model type: logits against mlx-lm on the same weights, in float32.
//!
//! The calls are a prompt, a further chunk and two single tokens, so masks, cache growth and states are all in use.

use crate::reference::python;
use mlxplan::engine::mlx::{EngineError, LoadedWeights, Model};
use mlxplan::graph::Graph;
use mlxplan::model::{Config, DType, Scheme};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Tokens of the calls.
const CALLS: [u32; 4] = [40, 5, 1, 1];

/// The configurations of `engine_cases.json`; of one family where `cargo xtask family` asks for it.
fn cases() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/engine_cases.json");
    let text = fs::read_to_string(file).expect("readable");
    let mut cases: Vec<Value> = serde_json::from_str(&text).expect("valid JSON");
    if let Ok(only) = std::env::var("MLXPLAN_FAMILY") {
        cases.retain(|case| case["name"] == only);
        assert_eq!(cases.len(), 1, "{only} has one case");
    }
    cases
}

fn graph(case: &Value) -> Graph {
    let config = Config::new(case["config"].as_object().expect("an object").clone());
    let mut graph = Graph::new(&config, DType::F32).expect("a known family");
    if let Some(scheme) = case["scheme"].as_str() {
        graph.quantize(scheme.parse::<Scheme>().expect("a scheme")).expect("fitting groups");
    }
    graph
}

/// Runs a case and writes what mlx-lm needs to repeat it; returns the logits.
fn run(case: &Value, folder: &Path) -> Result<Vec<f32>, EngineError> {
    let graph = graph(case);
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("writable");
    write("config.json", case["config"].to_string());
    write("scheme.txt", case["scheme"].as_str().unwrap_or_default().to_owned());
    let weights = LoadedWeights::random(graph.params(), 1)?;
    weights.save(graph.params(), &folder.join("model.safetensors"))?;
    let (config, text) = (&case["config"], &case["config"]["text_config"]);
    let mut vocabulary =
        config["vocab_size"].as_u64().or(text["vocab_size"].as_u64()).unwrap_or(64);
    // mlx-lm looks every token up in Gemma 4's table of per-layer embeddings. Where that has fewer rows than the
    // vocabulary, MLX reads beyond its end: undefined there and here.
    if config["model_type"].as_str().is_some_and(|t| t.starts_with("gemma4")) {
        let rows = &[config, text].map(|c| c["vocab_size_per_layer_input"].as_u64());
        vocabulary = rows.iter().flatten().fold(vocabulary, |v, &rows| v.min(rows));
    }
    let model = Model::new(&graph, weights)?;
    let mut session = model.session(1, None);
    let mut next = 1;
    let mut all = Vec::new();
    let mut logits = Vec::new();
    for n in CALLS {
        let mut token = || {
            next = next * 31 % 65_537;
            (next % vocabulary) as u32
        };
        let ids: Vec<u32> = (0..n).map(|_| token()).collect();
        logits.extend(session.logits(&model.tokens(&ids, 1)?)?);
        all.push(ids);
    }
    write("tokens.json", serde_json::to_string(&all).expect("JSON"));
    Ok(logits)
}

/// Largest difference over the largest value.
fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    let peak = theirs.iter().fold(0f32, |m, x| m.max(x.abs()));
    let worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
    // Not a number is a failure too.
    worst.fold(0f32, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) }) / peak
}

fn floats(file: &Path) -> Option<Vec<f32>> {
    let bytes = fs::read(file).ok()?;
    Some(bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect())
}

#[test]
fn logits_are_those_of_mlx_lm() {
    let cases = cases();
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut wrong = Vec::new();
    for part in cases.chunks(20) {
        let mut made = Vec::new();
        for case in part {
            let name = case["name"].as_str().expect("a name");
            let folder = root.path().join(name);
            fs::create_dir(&folder).expect("a new folder");
            match run(case, &folder) {
                Ok(logits) => made.push((name, folder, logits)),
                Err(e) => wrong.push(format!("{name}: {e}")),
            }
        }
        python("mlx/logits.py", &[root.path()]);
        for (name, folder, ours) in made {
            match floats(&folder.join("want.bin")) {
                Some(theirs) if theirs.len() == ours.len() => {
                    let d = difference(&ours, &theirs);
                    if d > 1e-3 {
                        wrong.push(format!("{name}: logits differ by {d:e}"));
                    }
                }
                _ => {
                    let error = fs::read_to_string(folder.join("error.txt")).unwrap_or_default();
                    wrong.push(format!("{name}: mlx-lm: {error}"));
                }
            }
        }
        // Weights of some hundred models would fill the disk.
        for entry in fs::read_dir(root.path()).expect("a folder").flatten() {
            fs::remove_dir_all(entry.path()).expect("removable");
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
