//! Simulated peaks against those of `mlx_oracle`, which replays the real mlx-lm's graph.

use mlxplan::graph::Graph;
use mlxplan::ledger::peak::{Request, full, peak};
use mlxplan::ledger::replay::{ArchClass, Gpu};
use mlxplan::model::catalogue::Catalogue;
use serde_json::Value;

/// Most that a peak may differ.
const TOLERANCE: f64 = 0.002;

/// The vectors of `peaks.json`.
fn vectors() -> Vec<Value> {
    let text = include_str!("../data/peaks.json");
    serde_json::from_str(text).expect("valid JSON")
}

fn difference(models: &Catalogue, v: &Value) -> Option<String> {
    let text = |key: &str| v[key].as_str().expect("a text");
    let number = |key: &str| v[key].as_u64().expect("a number");
    let entry = models.get(text("model")).expect("in the catalogue").entry().expect("a good entry");
    let scheme = text("scheme").replace('_', "-").parse().expect("a scheme");
    let graph = Graph::quantised(&entry.config, scheme).expect("a graph");
    let class = match text("arch_class") {
        "g" => ArchClass::Base,
        "d" => ArchClass::Ultra,
        _ => ArchClass::Max,
    };
    let nax = v["matrix_units"].as_bool().expect("yes or no");
    let request = Request {
        gpu: Gpu { class, generation: if nax { 17 } else { 16 }, nax },
        prompt: number("prompt") as u32,
        generate: 2,
        batch: 1,
        prefill_step: number("prefill_step") as u32,
        kv: None,
    };
    let want = number("peak_bytes") as f64;
    let whole = full(&graph, &request).expect("it runs").peak_bytes as f64;
    let sampled = peak(&graph, &request).expect("it runs").peak_bytes as f64;
    let off = |got: f64| (got / want - 1.0).abs() > TOLERANCE;
    (off(whole) || off(sampled) || sampled > whole)
        .then(|| format!("{v}: {whole} in full, {sampled} sampled"))
}

#[test]
fn peaks_are_those_of_the_oracle() {
    let models = Catalogue::built_in().expect("a good catalogue");
    let all = vectors();
    let families: std::collections::HashSet<_> =
        all.iter().filter_map(|v| v["model_type"].as_str()).collect();
    assert!(families.len() >= 30, "{families:?}");
    let wrong: Vec<String> = all.iter().filter_map(|v| difference(&models, v)).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}
