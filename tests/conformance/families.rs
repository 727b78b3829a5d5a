//! Small made-up models of the dense types: weights, cache and decode step as mlx-lm has them.

use crate::peaks;
use mlxplan::graph::{Graph, SkippedLayers};
use mlxplan::ledger::cache::bytes_after;
use mlxplan::ledger::replay::{ArchClass, Gpu};
use mlxplan::ledger::traffic::decode_step;
use mlxplan::ledger::weights::Weights;
use mlxplan::model::{Config, DType, Scheme};
use serde_json::{Value, json};

/// The vectors of `small_families.json`; of one family where `cargo xtask family` asks for it.
pub fn models() -> Vec<Value> {
    let text = include_str!("../data/small_families.json");
    let all: Value = serde_json::from_str(text).expect("valid JSON");
    let mut models = all["models"].as_array().expect("a list").clone();
    match std::env::var("MLXPLAN_FAMILY") {
        Ok(only) => {
            models.retain(|m| m["name"] == only);
            assert_eq!(models.len(), 1, "{only} has one vector");
        }
        Err(_) => assert!(models.len() > 90),
    }
    models
}

/// The configuration of a vector.
pub fn config(model: &Value) -> Config {
    Config::new(model["config"].as_object().expect("an object").clone())
}

fn differences(model: &Value) -> Vec<String> {
    let config = config(model);
    let plain = match Graph::new(&config, DType::BF16) {
        Ok(graph) => graph,
        Err(e) => return vec![e.to_string()],
    };
    let mut out = Vec::new();
    let mut compare = |what: String, got: Value, want: &Value| {
        if got != *want {
            out.push(format!("{what}: {got} instead of {want}"));
        }
    };
    let base = Weights::of(&plain);
    compare("params".to_owned(), json!(base.parameters), &model["params"]);
    compare("tensors".to_owned(), json!(base.tensors), &model["tensors"]);
    for name in ["bf16", "affine_4_g64", "mxfp4", "mixed_3_6"] {
        let scheme: Scheme = name.parse().expect("a known scheme");
        let bytes = Graph::quantized(&config, scheme).ok().map(|g| Weights::of(&g).bytes);
        compare(format!("weights {name}"), json!(bytes), &model["weight_bytes"][name]);
    }
    let lengths = [1, 300, 2500];
    let cache = bytes_after(&plain, &lengths).ok().map(|bytes| {
        let named = lengths.iter().zip(bytes).map(|(n, b)| (n.to_string(), json!(b)));
        Value::Object(named.collect())
    });
    compare("cache".to_owned(), json!(cache), &model["cache_bytes"]);
    for step in model["steps"].as_array().expect("a list") {
        let scheme = step["scheme"].as_str().expect("a name");
        let context = step["context"].as_u64().expect("a number") as u32;
        for (key, value) in decode(&config, scheme, context).expect("a model that runs") {
            if key != "dispatches_in_layers" {
                compare(format!("{key} {scheme} {context}"), value, &step[&key]);
            }
        }
    }
    for peak in model["peaks"].as_array().into_iter().flatten() {
        out.extend(peaks::difference(&config, peak));
    }
    out
}

/// The totals of a decode step on an M3 Max.
fn decode(
    config: &Config,
    scheme: &str,
    context: u32,
) -> Result<serde_json::Map<String, Value>, Box<dyn std::error::Error>> {
    let graph = Graph::quantized(config, scheme.parse()?)?;
    let gpu = Gpu::new(ArchClass::Max, 15, false);
    let totals = decode_step(&graph, context, 1, gpu, None, SkippedLayers::NONE)?.totals();
    match serde_json::to_value(totals)? {
        Value::Object(map) => Ok(map),
        _ => Err("totals are no object".into()),
    }
}

#[test]
fn small_models_of_every_dense_type_are_as_in_mlx_lm() {
    let models = models();
    let wrong: Vec<String> = models
        .iter()
        .map(|m| (m["name"].as_str().expect("a name"), differences(m)))
        .filter(|(_, found)| !found.is_empty())
        .map(|(name, found)| format!("{name}:\n  {}", found.join("\n  ")))
        .collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), models.len(), wrong.join("\n"));
}
