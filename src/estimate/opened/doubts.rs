//! Doubts about a configuration: files that hold something else, types that no family implements.

use super::OpenedModel;
use crate::graph::GraphError;
use crate::ledger::weights::Weights;
use crate::model::source::SourceNote;
use crate::model::{Config, ConfigError};
use crate::units::Bytes;

/// A doubt where the graph of a GGUF file and the file differ by more than 2 % of their parameters.
pub(super) fn unlike_the_file(model: &OpenedModel) -> Option<String> {
    let gguf = model.source.gguf.as_ref()?;
    if model.file().stand_in {
        return None;
    }
    let stored = gguf.loaded_parameters();
    let graph = Weights::of(&model.graph).parameters;
    let apart = (graph as f64 / stored.max(1) as f64 - 1.0).abs();
    (apart > 0.02).then(|| {
        format!(
            "the file holds {stored} parameters and the model it is taken for {graph}; weights are the file's, cache \
             and speed are rough"
        )
    })
}

/// A doubt where an index of files that were not read states other bytes than the graph has, by more than 1 %.
pub(super) fn unlike_the_index(model: &OpenedModel) -> Option<String> {
    let stated = model.source.notes.iter().find_map(|note| match note {
        SourceNote::IndexOnly { total_bytes, .. } => *total_bytes,
        SourceNote::IndexWithoutFiles { total_bytes } => Some(*total_bytes),
        _ => None,
    })?;
    let ours = Weights::of(&model.graph).bytes;
    let apart = (ours as f64 / stated.max(1) as f64 - 1.0).abs();
    (apart > 0.01).then(|| {
        format!(
            "the index states {} of tensors and the model as it is taken has {}: towers, prediction layers or a format \
             that the configuration does not tell",
            Bytes(stated),
            Bytes(ours)
        )
    })
}

/// Keys of a plain decoder, and keys that rule it out.
const DECODER: [&str; 5] =
    ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"];
const NOT_PLAIN: [&str; 7] = [
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "kv_lora_rank",
    "ssm_state_size",
    "linear_num_key_heads",
    "mamba_d_state",
];

/// Parts of keys that a plain decoder does not have: other inputs, norms of another kind.
const ODD: [&str; 5] = ["vision", "image", "audio", "norm_type", "norm_after"];

pub(super) fn plain_decoder_hint(config: &Config, error: &GraphError) -> Option<String> {
    if !matches!(error, GraphError::Config(ConfigError::UnknownFamily(_))) {
        return None;
    }
    let odd = |key: &String| ODD.iter().any(|part| key.contains(part));
    let plain = DECODER.iter().all(|k| config.get(k).is_some())
        && NOT_PLAIN.iter().all(|k| config.get(k).is_none())
        && !config.values().keys().any(odd);
    Some(if plain {
        "its keys look like a plain decoder; --assume llama reads it as one (no guarantee)"
            .to_owned()
    } else {
        "its keys do not look like a plain decoder, so that no other family stands in for it"
            .to_owned()
    })
}
