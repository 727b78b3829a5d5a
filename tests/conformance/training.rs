//! Fine-tuning runs against those of the oracle, which records and replays the real `mlx_lm.lora`.

use mlxplan::graph::Graph;
use mlxplan::graph::cache::CacheKind;
use mlxplan::graph::params::{Module, ModuleKind};
use mlxplan::graph::training::{
    FineTuneType, FineTuning, Loss, Optimizer, TrainedAttention, padded_tokens,
};
use mlxplan::ledger::replay::{ArchClass, Gpu};
use mlxplan::ledger::training::replay;
use mlxplan::model::Config;
use mlxplan::model::catalog::Models;
use rayon::prelude::*;
use serde_json::Value;

fn options(v: &Value) -> FineTuning {
    let o = &v["options"];
    let number = |key: &str, default: u64| o[key].as_i64().unwrap_or(default as i64);
    let text = |key: &str| o[key].as_str().unwrap_or_default();
    let layers = number("num_layers", 16);
    FineTuning {
        kind: match text("fine_tune_type") {
            "dora" => FineTuneType::Dora,
            "full" => FineTuneType::Full,
            _ => FineTuneType::Lora,
        },
        optimizer: match text("optimizer") {
            "adamw" => Optimizer::AdamW,
            "sgd" => Optimizer::Sgd,
            "muon" => Optimizer::Muon,
            "adafactor" => Optimizer::Adafactor,
            _ => Optimizer::Adam,
        },
        layers: u32::try_from(layers).ok().filter(|&n| n > 0),
        rank: number("rank", 8) as u32,
        keys: o["keys"]
            .as_array()
            .map(|keys| keys.iter().map(|k| k.as_str().expect("a text").to_owned()).collect()),
        checkpoint: o["grad_checkpoint"].as_bool().unwrap_or(false),
        accumulation: number("grad_accumulation_steps", 1) as u32,
        batch: number("batch_size", 4) as u32,
        tokens: padded_tokens(number("longest", 512) as u32, number("max_seq_length", 2048) as u32),
        loss: match text("loss") {
            "bf16" => Loss::Plain,
            "float32" => Loss::Float32,
            _ => Loss::Fused,
        },
        attention: match text("attention") {
            "fused" => TrainedAttention::FusedForward,
            _ => TrainedAttention::Unfused,
        },
    }
}

/// What is wrong with a run, if anything.
fn difference(models: &Models, v: &Value) -> Option<String> {
    let text = |key: &str| v[key].as_str().expect("a text");
    let stored = serde_json::to_string(&v["config"]).expect("JSON");
    let config = match v["config"].is_null() {
        true => models.get(text("model")).expect("known").entry().expect("good").config.clone(),
        false => Config::parse(&stored).expect("a configuration"),
    };
    let scheme = text("scheme").replace('_', "-").parse().expect("a scheme");
    let graph = match Graph::quantized(&config, scheme) {
        Ok(graph) => graph,
        Err(e) => return (!v["peak_bytes"].is_null()).then(|| format!("{}: {e}", text("model"))),
    };
    let class = match text("arch_class") {
        "g" => ArchClass::Base,
        "d" => ArchClass::Ultra,
        _ => ArchClass::Max,
    };
    let nax = v["matrix_units"].as_bool().expect("yes or no");
    let gpu = Gpu::new(class, if nax { 17 } else { 16 }, nax);
    let label = format!("{} {} {}", text("model"), text("scheme"), v["options"]);
    let found = match replay(&graph, &options(v), gpu) {
        Ok(found) => found,
        Err(_) if v["peak_bytes"].is_null() => return None,
        Err(e) => return Some(format!("{label}: {e}")),
    };
    if v["peak_bytes"].is_null() {
        return Some(format!("{label}: mlx-lm refuses this: {}", v["refused"]));
    }
    let want = |key: &str| v[key].as_u64().expect("a number");
    let special = |kind: &CacheKind| !matches!(kind, CacheKind::Kv | CacheKind::Rotating { .. });
    let latent = |m: &Module| matches!(m.kind, ModuleKind::SwitchLinear | ModuleKind::MultiLinear);
    let dense =
        !graph.cache_kinds().iter().any(special) && !graph.params().modules().iter().any(latent);
    let tolerance = if dense { DENSE } else { OTHER };
    let off = found.peak_bytes as f64 / want("peak_bytes") as f64 - 1.0;
    let exact = found.trainable_parameters == want("trainable")
        && found.optimizer_bytes == want("optimizer_bytes")
        && found.flops == want("flops");
    (!exact || off.abs() > tolerance).then(|| {
        format!(
            "{label}: peak {:+.2} % of {}; trained {} of {}, optimizer {} of {}, FLOPs {} of {} ({:+.3} %), kernels {} of {}",
            100.0 * off, want("peak_bytes"), found.trainable_parameters, want("trainable"),
            found.optimizer_bytes, want("optimizer_bytes"), found.flops, want("flops"),
            100.0 * (found.flops as f64 / want("flops") as f64 - 1.0), found.dispatches, want("dispatches"),
        )
    })
}

/// Most that the peak of a dense model may differ; parameters, optimizer bytes and work are equal.
const DENSE: f64 = 0.01;
/// The same of experts, hybrids and latent attention.
const OTHER: f64 = 0.02;

/// Real models and every family with one option changed; and every family with each option drawn by itself.
const VECTORS: [&str; 2] = ["training.json", "training_mixed.json"];

#[test]
fn runs_are_those_of_the_oracle() {
    let models = Models::built_in().expect("a good catalog");
    let of = |file: &&str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
        let text = std::fs::read_to_string(path).expect("readable");
        serde_json::from_str::<Vec<Value>>(&text).expect("valid JSON")
    };
    let vectors: Vec<Value> = VECTORS.iter().flat_map(of).collect();
    assert!(vectors.len() >= 80);
    let wrong: Vec<String> = vectors.par_iter().filter_map(|v| difference(&models, v)).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
}
