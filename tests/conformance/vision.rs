//! Models with towers as mlx-vlm builds and converts them: every part must match to the byte.

use mlxplan::graph::Graph;
use mlxplan::graph::towers::images::ImageSize;
use mlxplan::graph::towers::{Loader, ModelPart};
use mlxplan::ledger::weights::{PartSize, Weights};
use mlxplan::model::{Config, DType, Scheme};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../data/golden_vlm.json")).expect("JSON");
    file["models"].as_array().expect("models").clone()
}

fn config(model: &Value) -> Config {
    Config::new(model["config"].as_object().expect("a configuration").clone())
}

fn parts(graph: &Graph) -> Value {
    let parts: BTreeMap<&str, u64> =
        PartSize::of(graph).iter().map(|size| (size.part.name(), size.bytes)).collect();
    json!(parts)
}

/// Whether mlx-vlm keeps matrices of the text part in one tensor that mlx-lm splits: the shared expert of MiniMax M3
/// among the routed ones, keys and values of Mistral 4. The bytes are the same.
fn joined(model: &Value) -> bool {
    model["model_type"] == "minimax_m3_vl"
        || model["config"]["text_config"]["model_type"] == "mistral4"
}

fn differences(want: &Value) -> Vec<String> {
    let config = config(want);
    let mut out = Vec::new();
    match Graph::loaded(&config, DType::BF16, Loader::MlxVlm) {
        Ok(graph) => {
            let weights = Weights::of(&graph);
            for (what, got) in [("params", weights.parameters), ("n_tensors_bf16", weights.tensors)]
            {
                if json!(got) != want[what] && !(what.starts_with("n_tensors") && joined(want)) {
                    out.push(format!("{what}: {got} instead of {}", want[what]));
                }
            }
        }
        Err(e) => return vec![e.to_string()],
    }
    for (name, parts_wanted) in want["weight_bytes_by_part"].as_object().expect("schemes") {
        let scheme: Scheme = name.parse().expect("a known scheme");
        match Graph::converted(&config, scheme, Loader::MlxVlm) {
            Ok(graph) if parts(&graph) == *parts_wanted => {}
            Ok(graph) => out.push(format!("{name}: {} instead of {parts_wanted}", parts(&graph))),
            Err(e) => out.push(format!("{name}: {e}")),
        }
    }
    out
}

#[test]
fn every_part_of_every_model_has_its_bytes_under_mlx_vlm() {
    let mut failed = Vec::new();
    for model in vectors() {
        let wrong = differences(&model);
        if !wrong.is_empty() {
            let id = model["id"].as_str().unwrap_or_default();
            failed.push(format!("{id} ({}):\n  {}", model["model_type"], wrong.join("\n  ")));
        }
    }
    assert!(failed.is_empty(), "{} models differ:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn mlx_lm_loads_no_tower() {
    for model in vectors() {
        let Ok(graph) = Graph::new(&config(&model), DType::BF16) else { continue };
        let parts: Vec<ModelPart> = PartSize::of(&graph).iter().map(|size| size.part).collect();
        assert_eq!(parts, [ModelPart::Language], "{}", model["id"]);
    }
}

#[test]
fn images_become_as_many_tokens_as_the_processors_make() {
    let mut failed = Vec::new();
    for model in vectors() {
        let Some(wanted) = model["image_tokens"].as_object() else { continue };
        let config = config(&model);
        let graph = Graph::loaded(&config, DType::BF16, Loader::MlxVlm).expect("a model");
        let preprocessor = model["preprocessor"].as_object().cloned().map(Config::new);
        for (size, tokens) in wanted {
            let (width, height) = size.split_once('x').expect("WIDTHxHEIGHT");
            let size = ImageSize {
                width: width.parse().expect("a width"),
                height: height.parse().expect("a height"),
            };
            let got = graph.image_tokens(&config, preprocessor.as_ref(), size);
            let got = got.map(|t| t.map(|t| json!([t.features, t.prompt])));
            if got.as_ref().ok() != Some(&Some(tokens.clone())) {
                let id = &model["id"];
                failed.push(format!("{id} {width}x{height}: {got:?} instead of {tokens}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} differ:\n{}", failed.len(), failed.join("\n"));
}
