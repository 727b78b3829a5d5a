//! The published files of `tests/data/golden_gguf.json`.

use super::*;
use crate::model::DType;
use crate::model::catalog::Models;
use serde_json::Value;

fn vectors() -> Vec<Value> {
    let text = include_str!("../../../tests/data/golden_gguf.json");
    let all: Value = serde_json::from_str(text).expect("JSON");
    all["files"].as_array().expect("files").clone()
}

/// The model of a row, where the catalog has it.
fn graph(catalog: &Models, v: &Value) -> Option<Graph> {
    let id = v["model"].as_str().expect("a model");
    let entry = catalog.get(id).or_else(|| catalog.get(&format!("{id}-Instruct")))?;
    let entry = entry.entry().expect("readable");
    Some(Graph::new(&entry.config, DType::BF16).expect("a known family"))
}

fn publisher(recipe: &str) -> Publisher {
    match recipe {
        r if r.contains("unsloth") => Publisher::Unsloth,
        r if r.contains("bartowski") => Publisher::Bartowski,
        _ => Publisher::Plain,
    }
}

/// Bytes of the tensors of a published file and how far the source rounds them.
fn published(v: &Value) -> (f64, f64) {
    if let Some(bytes) = v["tensor_bytes"].as_f64() {
        return (bytes, 0.0);
    }
    if let (Some(bits), Some(n)) = (v["bits_per_weight"].as_f64(), v["params"].as_f64()) {
        return (bits * n / 8.0, 1e-4);
    }
    (v["file_gb_rounded"].as_f64().expect("a size") * 1e9, 5e-3)
}

#[test]
fn files_of_llama_quantize_are_sized_by_its_rules() {
    let catalog = Models::built_in().expect("built in");
    let mut compared = 0;
    for v in vectors() {
        let Some(graph) = graph(&catalog, &v) else { continue };
        let (name, recipe) =
            (v["file"].as_str().expect("a name"), v["recipe"].as_str().expect("one"));
        let (_, mix) =
            GgufMix::in_name(&name.replace(' ', "-")).unwrap_or_else(|| panic!("{name}"));
        let sizes = GgufSizes::of(&graph, mix.by(publisher(recipe)));
        let (bytes, rounding) = published(&v);
        let [low, high] = sizes.interval.map(|b| b as f64);
        let inside = bytes >= low * (1.0 - rounding) && bytes <= high * (1.0 + rounding);
        assert!(inside, "{name}: {bytes} is not in {low} to {high}");
        compared += 1;
        let Some(rule) = v["rule_bytes"].as_u64() else { continue };
        let own = ["unsloth", "bartowski"].iter().any(|p| recipe.contains(p));
        if !own {
            // The frequencies of a rotary embedding with scaling are not part of the graph.
            let [low, high] = sizes.interval;
            assert!(
                low <= rule && rule <= high + 256,
                "{name}: {rule} by the rules, not {low} to {high}"
            );
            assert!((bytes / sizes.bytes as f64 - 1.0).abs() < 0.009, "{name}");
        }
    }
    assert!(compared >= 50, "only {compared} files");
}

#[test]
fn a_name_without_a_publisher_covers_all_of_them() {
    let catalog = Models::built_in().expect("built in");
    for v in vectors() {
        let Some(graph) = graph(&catalog, &v) else { continue };
        let name = v["file"].as_str().expect("a name");
        let (_, mix) = GgufMix::in_name(&name.replace(' ', "-")).expect("a format");
        let [low, high] = GgufSizes::of(&graph, mix).interval.map(|b| b as f64);
        let (bytes, rounding) = published(&v);
        let inside = bytes >= low * (1.0 - rounding) && bytes <= high * (1.0 + rounding);
        assert!(inside, "{name}: {bytes} is not in {low} to {high}");
    }
}
