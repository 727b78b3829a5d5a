//! The 151 models of the catalog that mlx-lm implements: every figure must match to the byte.

use mlxplan::graph::cache::{Cache, Slot};
use mlxplan::graph::params::{ModuleKind, Part};
use mlxplan::graph::{Graph, QuantOverride};
use mlxplan::ledger::cache::{PREFILL_STEP, after_prompt, bytes};
use mlxplan::ledger::weights::{TensorType, Weights, tensors};
use mlxplan::model::catalog::Models;
use mlxplan::model::{Config, DType, Scheme};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Differences between a model's vector and what the graph gives.
fn differences(want: &Value, config: &Config) -> Vec<String> {
    let mut out = Vec::new();
    let mut compare = |what: &str, got: Value, want: &Value| {
        if got != *want {
            out.push(format!("{what}: {got} instead of {want}"));
        }
    };
    let plain = match Graph::new(config, DType::BF16) {
        Ok(graph) => graph,
        Err(e) => return vec![e.to_string()],
    };
    let base = Weights::of(&plain);
    compare("params", json!(base.parameters), &want["params"]);
    compare("active_params", json!(base.active_parameters), &want["active_params"]);
    compare("experts", json!(plain.experts().map(|e| e.total)), &want["experts"]);
    compare(
        "experts_per_token",
        json!(plain.experts().map(|e| e.chosen)),
        &want["experts_per_token"],
    );
    compare("n_tensors_bf16", json!(base.tensors), &want["n_tensors_bf16"]);
    compare("embedding_tables", embedding_tables(&plain), &want["embedding_tables_bf16_bytes"]);

    let mut weights = BTreeMap::new();
    let mut routed = BTreeMap::new();
    for name in schemes() {
        let scheme: Scheme = name.parse().expect("a known scheme");
        let Ok(graph) = Graph::quantized(config, scheme) else { continue };
        let w = Weights::of(&graph);
        weights.insert(name.clone(), json!(w.bytes));
        routed.insert(name.clone(), json!(w.routed_expert_bytes));
        match name.as_str() {
            "affine_4_g64" => {
                compare(
                    "embedding 4 bit",
                    json!(w.embedding_bytes),
                    &want["embedding_bytes_affine_4_g64"],
                );
                compare("n_tensors_4bit", json!(w.tensors), &want["n_tensors_4bit"]);
                compare("unquantized", unquantized(&graph), &want["unquantized_matrices"]);
                compare("overrides", overrides(&graph), &want["n_per_layer_overrides"]);
            }
            "affine_8_g64" => {
                compare(
                    "embedding 8 bit",
                    json!(w.embedding_bytes),
                    &want["embedding_bytes_affine_8_g64"],
                );
            }
            _ => {}
        }
    }
    // mxfp4_q8 is listed for gpt-oss only, which is published in that layout.
    if want["weight_bytes"].get("mxfp4_q8").is_none() {
        weights.remove("mxfp4_q8");
    }
    if want["routed_expert_bytes"].get("mxfp4_q8").is_none() {
        routed.remove("mxfp4_q8");
    }
    compare("weight_bytes", json!(weights), &want["weight_bytes"]);
    let routed = if plain.experts().is_some() { json!(routed) } else { Value::Null };
    compare("routed_expert_bytes", routed, &want["routed_expert_bytes"]);
    compare_caches(&plain, want, &mut compare);
    out
}

fn compare_caches(graph: &Graph, want: &Value, compare: &mut dyn FnMut(&str, Value, &Value)) {
    let after = |n: u32| after_prompt(graph, n, PREFILL_STEP, 1, None).expect("the model runs");
    let sizes: BTreeMap<String, u64> =
        [1, 512, 4096, 8192].map(|n| (n.to_string(), bytes(&after(n)))).into();
    let slope = (sizes["8192"] as f64 - sizes["4096"] as f64) / 4096.0;
    compare("kv slope", json!(slope), &want["kv_bytes_per_token_slope_4096_8192"]);
    compare("kv bytes", json!(sizes), &want["kv_bytes_after_n_tokens"]);
    let caches = after(8192);
    let mut classes: BTreeMap<String, u64> = BTreeMap::new();
    caches.iter().for_each(|c| *classes.entry(c.class()).or_default() += 1);
    compare("cache classes", json!(classes), &want["cache_classes"]);
    let shapes: BTreeSet<String> =
        caches.iter().map(|c| json!([c.class(), shapes(c)]).to_string()).collect();
    let wanted: BTreeSet<String> = want["cache_shapes_after_8192_tokens"]
        .as_array()
        .into_iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    compare("cache shapes", json!(shapes), &json!(wanted));
}

fn schemes() -> Vec<String> {
    let mut names = vec!["bf16".to_owned()];
    names.extend([2, 3, 4, 5, 6, 8].map(|b| format!("affine_{b}_g64")));
    let others = [
        "affine_4_g32",
        "affine_4_g128",
        "affine_8_g32",
        "mxfp4",
        "nvfp4",
        "mxfp8",
        "mixed_2_6",
        "mixed_3_4",
        "mixed_3_6",
        "mixed_4_6",
        "mxfp4_q8",
    ];
    names.extend(others.map(str::to_owned));
    names
}

fn embedding_tables(graph: &Graph) -> Value {
    let tables: BTreeMap<&str, u64> = graph
        .params()
        .modules()
        .iter()
        .filter(|m| m.kind == ModuleKind::Embedding)
        .map(|m| (m.path.as_str(), m.bytes()))
        .collect();
    json!(tables)
}

/// Names of 16-bit matrices of a quantized model, layer numbers replaced by N.
fn unquantized(graph: &Graph) -> Value {
    let names: BTreeSet<String> = tensors(graph)
        .into_iter()
        .filter(|t| t.shape.rank() >= 2 && t.dtype != TensorType::Mlx(DType::U32))
        .filter(|t| !t.name.ends_with("scales") && !t.name.ends_with("biases"))
        .map(|t| {
            let digits = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
            let parts = t.name.split('.').map(|p| if digits(p) { "N" } else { p });
            parts.collect::<Vec<_>>().join(".")
        })
        .collect();
    json!(names)
}

fn overrides(graph: &Graph) -> Value {
    let own = graph.params().modules().iter().filter(|m| {
        m.tensor(Part::Scales).is_some() && graph.quant_override(&m.path) == QuantOverride::EightBit
    });
    json!(own.count())
}

/// Shapes as the vectors list them: `[keys, values, dtype]`, or `[shape, dtype]` per state.
fn shapes(cache: &Cache) -> Value {
    let dtype = |s: &Slot| format!("mlx.core.{}", s.dtype);
    if !cache.parts().is_empty() {
        return cache.parts().iter().map(shapes).collect();
    }
    let slots = cache.slots();
    if cache.class() == "ArraysCache" {
        let state = |s: &Option<Slot>| s.as_ref().map(|s| json!([s.shape, dtype(s)]));
        return slots.iter().map(|s| state(s).unwrap_or(Value::Null)).collect();
    }
    match &slots[..] {
        [Some(k), Some(v)] => json!([k.shape, v.shape, dtype(k)]),
        _ => Value::Null,
    }
}

#[test]
fn every_model_of_the_catalog_has_mlx_lms_sizes() {
    let text = include_str!("../data/golden_sizes.json");
    let golden: Value = serde_json::from_str(text).expect("valid JSON");
    let catalog = Models::built_in().expect("a valid catalog");
    let mut wrong = Vec::new();
    let models = golden["models"].as_array().expect("a list");
    for want in models {
        let id = want["id"].as_str().expect("an id");
        let entry = catalog.get(id).expect("in the catalog").entry().expect("a valid entry");
        let found = differences(want, &entry.config);
        if !found.is_empty() {
            wrong.push(format!("{id} ({}):\n  {}", entry.model_type, found.join("\n  ")));
        }
    }
    assert_eq!(models.len(), 151);
    assert!(wrong.is_empty(), "{} of 151 models differ:\n{}", wrong.len(), wrong.join("\n"));
}
