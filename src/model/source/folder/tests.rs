use super::*;
use crate::model::quant::Packing;
use crate::model::source::testing::{ONE_LAYER, ShardedFolder, safetensors, tensor_entries, write};
use serde_json::json;
use tempfile::tempdir;

fn error(path: &Path) -> String {
    load(path).expect_err("an error").to_string()
}

#[test]
fn a_folder_without_config_is_no_model() {
    let dir = tempdir().unwrap();
    assert!(error(dir.path()).ends_with("is no model folder: it has no config.json"));
    write(dir.path(), "Qwen3-8B-Q4_K_M.gguf", b"GGUF");
    assert!(error(dir.path()).ends_with("for the GGUF file give Qwen3-8B-Q4_K_M.gguf itself"));
    assert!(error(&dir.path().join("absent")).starts_with("cannot read "));
}

#[test]
fn a_quantized_folder_gives_exact_tensors_and_packings() {
    let dir = tempdir().unwrap();
    let config = json!({
        "model_type": "llama", "num_hidden_layers": 1,
        "quantization": {"bits": 4, "group_size": 64, "model.layers.0.mlp.gate": {"bits": 8, "group_size": 64}},
    });
    write(dir.path(), "config.json", config.to_string().as_bytes());
    write(dir.path(), "tokenizer.json", b"{}");
    write(dir.path(), "model.safetensors", &safetensors(&ONE_LAYER));
    let source = load(dir.path()).unwrap();
    let packings = source.packings.unwrap();
    let packing = |path: &str| packings.get(path).unwrap().packing;
    assert_eq!(packing("model.layers.0.mlp.up_proj"), Some(Packing::affine(4, 64)));
    assert_eq!(packing("model.layers.0.mlp.gate"), Some(Packing::affine(8, 64)));
    assert_eq!(packing("model.norm"), None);
    let parts = source.parts.unwrap();
    assert_eq!(parts.vision, 64);
    let tensors = source.tensors.unwrap();
    assert_eq!(parts.text + 64, tensors.total_bytes());
    assert!(tensors.is_mlx_format());
    assert_eq!(source.notes, [SourceNote::Dropped(parts)]);
    assert_eq!(source.notes[0].to_string(), "mlx-lm does not load the vision tower (64 B)");
}

#[test]
fn headers_are_optional_and_said_to_be() {
    let dir = tempdir().unwrap();
    write(dir.path(), "config.json", br#"{"model_type":"llama"}"#);
    let source = load(dir.path()).unwrap();
    assert_eq!(source.notes, [SourceNote::NoTokenizer, SourceNote::NoWeights]);
    assert!(source.tensors.is_none() && source.stored_bytes().is_none());
    // The small files of a repository, without any shard.
    write(dir.path(), INDEX_FILE, br#"{"weight_map":{"a":"model-00001-of-00001.safetensors"}}"#);
    assert!(load(dir.path()).unwrap().notes.contains(&SourceNote::NoWeights));
}

#[test]
fn the_total_of_an_index_is_used_and_contradicted() {
    let dir = tempdir().unwrap();
    write(dir.path(), "config.json", br#"{"model_type":"llama"}"#);
    let index = |total: u64| {
        let map = json!({"a": "model-00001-of-00001.safetensors"});
        json!({"metadata": {"total_size": total}, "weight_map": map}).to_string()
    };
    write(dir.path(), INDEX_FILE, index(12_345).as_bytes());
    let alone = load(dir.path()).unwrap().notes;
    assert!(alone.contains(&SourceNote::IndexWithoutFiles { total_bytes: 12_345 }), "{alone:?}");
    write(dir.path(), "model-00001-of-00001.safetensors", &safetensors(&[("a", "BF16", &[2])]));
    let notes = load(dir.path()).unwrap().notes;
    let disagrees = SourceNote::TotalDisagrees { stated: 12_345, found: 4 };
    assert!(disagrees.is_warning() && notes.contains(&disagrees), "{notes:?}");
    write(dir.path(), INDEX_FILE, index(4).as_bytes());
    assert_eq!(load(dir.path()).unwrap().notes, [SourceNote::NoTokenizer]);
}

#[test]
fn sharded_folders_must_be_complete() {
    let folder = ShardedFolder::new();
    let source = load(folder.path()).unwrap();
    let tensors = source.tensors.unwrap();
    assert_eq!(tensors.files().len(), 2);
    assert_eq!(tensors.get("b").map(|t| t.file), Some(1));
    std::fs::remove_file(folder.path().join("model-00002-of-00002.safetensors")).unwrap();
    assert!(error(folder.path()).contains("the shard model-00002-of-00002.safetensors is missing"));
    // The same without an index, judged by the numbers.
    std::fs::remove_file(folder.path().join(INDEX_FILE)).unwrap();
    assert!(error(folder.path()).contains("the shard model-00002-of-00002.safetensors is missing"));
}

#[test]
fn files_that_the_index_does_not_list_are_loaded_with_a_warning() {
    let folder = ShardedFolder::new();
    let extra = [("extra", "BF16", &[2_u64][..])];
    write(folder.path(), "model-extra.safetensors", &safetensors(&extra));
    let source = load(folder.path()).unwrap();
    assert!(
        source.notes.contains(&SourceNote::Unlisted(vec!["model-extra.safetensors".to_owned()]))
    );
    assert!(source.tensors.unwrap().get("extra").is_some());
}

#[test]
fn errors_name_the_file() {
    let dir = tempdir().unwrap();
    write(dir.path(), "config.json", b"[]");
    assert!(error(dir.path()).contains("config.json: not a model configuration"));
    write(dir.path(), "config.json", br#"{"quantization":{"bits":7}}"#);
    assert!(error(dir.path()).contains("config.json: configuration key 'quantization.bits'"));
    write(dir.path(), "config.json", b"{}");
    write(dir.path(), "model.safetensors", b"short");
    assert!(error(dir.path()).contains("model.safetensors: is cut off"));
    write(dir.path(), "model.safetensors", &safetensors(&ONE_LAYER)[..200]);
    assert!(error(dir.path()).contains("is cut off"));
    write(dir.path(), INDEX_FILE, br#"{"weight_map":{"a":"../x.safetensors"}}"#);
    assert!(error(dir.path()).contains("is no plain name"));
}

#[test]
fn a_block_that_disagrees_with_the_headers_is_a_warning() {
    let dir = tempdir().unwrap();
    write(dir.path(), "config.json", br#"{"quantization":{"bits":8,"group_size":64}}"#);
    let four = tensor_entries("m", 1024, Packing::affine(4, 64));
    let entries: Vec<_> = four.iter().map(|(n, t, s)| (n.as_str(), *t, s.as_slice())).collect();
    write(dir.path(), "model.safetensors", &safetensors(&entries));
    let source = load(dir.path()).unwrap();
    let warnings: Vec<String> =
        source.notes.iter().filter(|n| n.is_warning()).map(SourceNote::to_string).collect();
    assert!(
        warnings[0].starts_with(
            "config.json says affine 8-bit in groups of 64, but most weights are affine 4-bit in groups of 64"
        ),
        "{warnings:?}"
    );
}

#[test]
fn modelopt_settings_beside_the_config_are_seen() {
    let dir = tempdir().unwrap();
    write(dir.path(), "config.json", b"{}");
    write(dir.path(), "hf_quant_config.json", b"{}");
    assert!(load(dir.path()).unwrap().beside.is_some());
}
