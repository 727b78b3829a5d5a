//! Simulated peaks against those of the oracle, which replays the real mlx-lm's graph.

use mlxplan::graph::Graph;
use mlxplan::graph::cache::KvQuantization;
use mlxplan::ledger::peak::{full, peak};
use mlxplan::ledger::replay::{ArchClass, Gpu};
use mlxplan::model::Config;
use mlxplan::model::catalog::Models;
use mlxplan::run::Run;
use serde_json::Value;
use std::collections::HashSet;

/// Most that a peak may differ.
const TOLERANCE: f64 = 0.002;

fn vectors(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("valid JSON")
}

/// Number of model types among the vectors.
fn families(vectors: &[Value]) -> usize {
    vectors.iter().filter_map(|v| v["model_type"].as_str()).collect::<HashSet<_>>().len()
}

/// What is wrong with the peak of a model of this configuration, if anything.
pub fn difference(config: &Config, v: &Value) -> Option<String> {
    let text = |key: &str| v[key].as_str().expect("a text");
    let number = |key: &str| v[key].as_u64().expect("a number") as u32;
    let scheme = text("scheme").replace('_', "-").parse().expect("a scheme");
    let graph = Graph::quantized(config, scheme).expect("a graph");
    let class = match text("arch_class") {
        "g" => ArchClass::Base,
        "d" => ArchClass::Ultra,
        _ => ArchClass::Max,
    };
    let nax = v["matrix_units"].as_bool().expect("yes or no");
    let kv = v["kv_bits"].as_u64().map(|bits| KvQuantization {
        start: number("kv_start"),
        ..KvQuantization::bits(bits as u32)
    });
    let gpu = Gpu::new(class, if nax { 17 } else { 16 }, nax);
    let mut run = Run::default()
        .with_context(number("prompt"))
        .with_generated(2)
        .with_batch(v["batch"].as_u64().unwrap_or(1) as u32)
        .with_prefill_step(number("prefill_step"))
        .with_kv(kv);
    run.engine.pads_sequences = v["pads_sequences"].as_bool().unwrap_or(false);
    let found = (full(&graph, &run, gpu), peak(&graph, &run, gpu));
    let (Ok(whole), Ok(sampled)) = found else {
        let refused = v["peak_bytes"].is_null() && found.0.is_err() && found.1.is_err();
        return (!refused).then(|| format!("{v}: {found:?}"));
    };
    let Some(want) = v["peak_bytes"].as_f64() else {
        return Some(format!("{v}: mlx-lm refuses this"));
    };
    let (whole, sampled) = (whole.peak_bytes as f64, sampled.peak_bytes as f64);
    let off = |got: f64| (got / want - 1.0).abs() > TOLERANCE;
    (off(whole) || off(sampled) || sampled > whole)
        .then(|| format!("{v}: {whole} in full, {sampled} sampled"))
}

fn check(vectors: &[Value]) {
    let models = Models::built_in().expect("a good catalog");
    let config = |v: &Value| {
        let id = v["model"].as_str().expect("a text");
        models.get(id).expect("in the catalog").entry().expect("a good entry").config.clone()
    };
    let wrong: Vec<String> = vectors.iter().filter_map(|v| difference(&config(v), v)).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
}

#[test]
fn peaks_are_those_of_the_oracle() {
    let vectors = vectors(include_str!("../data/peaks.json"));
    assert!(families(&vectors) >= 30);
    check(&vectors);
}

/// Several sequences at once, and caches quantized by `--kv-bits`. No peak: mlx-lm refuses to quantize the cache.
#[test]
fn peaks_of_batches_and_quantized_caches_are_those_of_the_oracle() {
    let vectors = vectors(include_str!("../data/peaks_kv_batch.json"));
    let (quantized, dense): (Vec<_>, Vec<_>) =
        vectors.iter().cloned().partition(|v| v["kv_bits"].is_u64());
    assert!(families(&quantized) >= 8 && families(&dense) >= 8);
    check(&vectors);
}

/// Sequences that come and go, as `mlx_lm.server` has them: their masks are arrays, and they are copied when their prompts
/// have been read.
#[test]
fn peaks_of_servers_are_those_of_the_oracle() {
    let vectors = vectors(include_str!("../data/peaks_batched.json"));
    assert!(families(&vectors) >= 7);
    check(&vectors);
}
