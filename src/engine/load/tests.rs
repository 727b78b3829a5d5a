//! The vectors of `tests/data/golden_formats.json`: what the real `load_model` did with checkpoints in every format.

use super::*;
use crate::ledger::weights::Weights;
use crate::model::source::quant_block::WeightFormat;
use crate::model::source::safetensors::StorageType;
use crate::model::source::{TensorFile, TensorInfo};
use serde_json::Value;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/golden_formats.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the vectors")).expect("JSON")
}

fn config(value: &Value) -> Config {
    Config::new(value.as_object().expect("an object").clone())
}

fn tensors(headers: &Value) -> TensorIndex {
    let storage = |name: &str| match name {
        "bfloat16" => StorageType::BF16,
        "float16" => StorageType::F16,
        "float32" => StorageType::F32,
        "uint32" => StorageType::U32,
        "int32" => StorageType::I32,
        "int64" => StorageType::I64,
        "uint8" => StorageType::U8,
        other => panic!("type {other}"),
    };
    let all = headers.as_object().expect("headers").iter().map(|(name, of)| {
        let dtype = storage(of[0].as_str().expect("a type"));
        let dims = of[1].as_array().expect("a shape");
        let shape: Vec<u64> = dims.iter().map(|n| n.as_u64().expect("a number")).collect();
        let bytes = shape.iter().product::<u64>() * dtype.bits() / 8;
        TensorInfo { name: name.clone(), shape, dtype, bytes, file: 0 }
    });
    let file = TensorFile { name: "model.safetensors".to_owned(), bytes: None };
    TensorIndex::new(all.collect(), vec![file], true).expect("unique names")
}

/// Bytes of the loaded model, or the refusal.
fn outcome(case: &Value, loader: Loader, headers: bool) -> Result<u64, String> {
    let config = config(&case["config"]);
    let beside = case.get("hf_quant_config").filter(|v| !v.is_null()).map(self::config);
    let tensors = case.get("headers").filter(|v| headers && !v.is_null()).map(tensors);
    let block = match WeightFormat::of(&config) {
        Ok(WeightFormat::Mlx(block)) => Some(block),
        _ => None,
    };
    let packings = tensors
        .as_ref()
        .map(|t| ModulePackings::infer(t, block.as_ref()).expect("shapes that belong together"));
    let all_f32 =
        tensors.as_ref().is_some_and(|t| t.tensors().iter().all(|t| t.dtype == StorageType::F32));
    let checkpoint = Checkpoint {
        config: &config,
        beside: beside.as_ref(),
        tensors: tensors.as_ref(),
        packings: packings.as_ref(),
        dtype: if all_f32 { DType::F32 } else { DType::BF16 },
    };
    match load(&checkpoint, loader) {
        Ok(loaded) => Ok(Weights::of(&loaded.graph).bytes),
        Err(LoadError::Refused(refusal)) => Err(refusal.words),
        Err(LoadError::Graph(e)) => Err(e.to_string()),
    }
}

/// The kind of an exception, and its text where that does not hang on the order of a dictionary.
fn kind(words: &str) -> String {
    let order = ["Found ", "KeyError: 'model", "KeyError: experts", "shapes of GPTQ"];
    if order.iter().any(|o| words.contains(o)) {
        return words.split(':').next().unwrap_or_default().to_owned();
    }
    words.trim_end().to_owned()
}

fn check(cases: &str, loader: Loader, headers: bool, wanted: impl Fn(&Value) -> bool) {
    let golden = golden();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for case in golden[cases].as_array().expect("cases").iter().filter(|c| wanted(c)) {
        seen += 1;
        let id = case["id"].as_str().unwrap_or_default();
        let found = outcome(case, loader, headers);
        let expected =
            case["loaded_bytes"].as_u64().ok_or_else(|| case["error"].as_str().unwrap_or(""));
        let same = match (&found, &expected) {
            (Ok(a), Ok(b)) => a == b,
            (Err(a), Err(b)) => kind(a) == kind(b),
            _ => false,
        };
        if !same {
            wrong.push(format!("{id}: {found:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {seen}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn checkpoints_with_headers_load_as_in_mlx_lm() {
    check("cases", Loader::MlxLm, true, |c| c["headers"].is_object());
}

#[test]
fn checkpoints_with_headers_load_as_in_mlx_vlm() {
    check("mlx_vlm_cases", Loader::MlxVlm, true, |c| c["headers"].is_object());
}

#[test]
fn real_configurations_alone_have_the_sizes_of_mlx_lm() {
    // Which layers AutoRound left out of that one stands in no file but the weights.
    let known = |c: &Value| !c["id"].as_str().unwrap_or_default().contains("AutoRound");
    check("cases", Loader::MlxLm, false, |c| c["kind"] == "real config" && known(c));
}

#[test]
fn a_configuration_alone_tells_what_the_block_tells() {
    let tells = |c: &Value| {
        let id = c["id"].as_str().unwrap_or_default();
        let hinted = c["left_in_16_bit"].as_array().map_or(0, Vec::len) <= 2;
        let by_tensors = [
            "g_idx",
            "gptq",
            "MLX tensors",
            "MLX mxfp8",
            "another group",
            "compressed-tensors",
            "without block",
            "mxfp4 method",
            "6 bit",
            "contradicts",
            "under mxfp4",
            "without any block",
            "not named",
            "stored",
            "extra",
            "float32",
            "awq g128 mistral",
            "text_config",
            "hf_quant_config",
        ];
        c["headers"].is_object() && hinted && !by_tensors.iter().any(|t| id.contains(t))
    };
    check("cases", Loader::MlxLm, false, tells);
}
