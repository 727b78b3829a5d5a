//! What a module of a graph is in a GGUF file.
//!
//! llama.cpp's converter gives the tensors of all families one set of names (`gguf-py/gguf/tensor_mapping.py`); what
//! decides their types is the category that `llama-quantize` reads off those names. Modules are told by the words of
//! their paths, as in the families of mlx-lm.

use crate::graph::params::{Module, ModuleKind};
use crate::model::gguf::{Category, Matrix};
use crate::model::source::parts::{CheckpointPart, part_of};

/// The tensor of a module's weight; `None` for a module that is not in the file of the language model.
pub(super) fn matrix(module: &Module) -> Option<Matrix> {
    if matches!(part_of(&module.path, None), CheckpointPart::Vision | CheckpointPart::Audio) {
        return None;
    }
    let columns = u64::from(module.shape.dim(-1)).max(1);
    let layer = module.path.split('.').find_map(|word| word.parse().ok()).unwrap_or(0);
    Some(Matrix {
        category: category(module),
        layer,
        rows: module.shape.elements() / columns,
        columns,
        experts: module.kind == ModuleKind::SwitchLinear,
    })
}

/// The order of the tool among tensors of a layer and category: the dense ones, experts, the shared expert.
pub(super) fn rank(module: &Module) -> u8 {
    match module.kind {
        ModuleKind::SwitchLinear => 1,
        _ if module.path.contains("shared") => 2,
        _ => 0,
    }
}

fn category(module: &Module) -> Category {
    if module.kind == ModuleKind::Raw {
        return Category::Float32;
    }
    let mut words = module.path.rsplit('.');
    let last = words.next().unwrap_or_default();
    let parent = words.next().unwrap_or_default();
    let in_attention = parent.contains("attn") || parent.contains("attention") || parent == "mixer";
    if kept(&module.path) {
        return Category::Kept;
    }
    match last {
        "lm_head" | "output" => Category::Output,
        "embed_tokens"
        | "embed_tokens_per_layer"
        | "wte"
        | "word_embeddings"
        | "embeddings"
        | "tok_embeddings"
        | "embed_in"
        | "embedding" => Category::Embedding,
        "wpe" | "position_embeddings" => Category::Float32,
        "q_proj" | "wq" => Category::Query,
        "k_proj" | "wk" => Category::Key,
        "v_proj" | "wv" | "qkv_proj" | "query_key_value" | "Wqkv" | "c_attn" | "in_proj_qkv"
        | "kv_b_proj" | "wqkv" | "att_proj" => Category::Value,
        "o_proj" | "wo" | "out_proj" | "dense" | "c_proj" | "attn_out" if in_attention => {
            Category::AttentionOutput
        }
        _ if router(parent, last) => Category::Float32,
        "in_proj_a" | "in_proj_b" => Category::Float32,
        _ if parent.contains("attn") || parent.contains("attention") => Category::Other,
        "gate_proj" | "w1" | "gate" | "wi_0" => Category::Gate,
        "up_proj" | "w3" | "fc1" | "c_fc" | "gate_up_proj" | "input_linear" | "dense_h_to_4h"
        | "ff_proj" | "proj_1" => Category::Up,
        "down_proj" | "w2" | "fc2" | "c_proj" | "output_linear" | "dense_4h_to_h" | "ff_out"
        | "proj_2" => Category::Down,
        _ => Category::Other,
    }
}

/// Projections that choose experts; llama.cpp keeps them in float32.
fn router(parent: &str, last: &str) -> bool {
    let mlp = ["mlp", "ffn", "moe", "feed_forward", "mixer", "block_sparse_moe"];
    match last {
        "router" | "shared_expert_gate" | "wg" | "classifier" => true,
        "gate" => mlp.iter().any(|m| parent.contains(m)) || matches!(parent, "router" | "gate"),
        "layer" | "proj" => parent == "router",
        "gate_proj" => parent == "gate",
        _ => false,
    }
}

/// Small matrices that `llama-quantize` leaves alone (`tensor_allows_quantization`).
fn kept(path: &str) -> bool {
    let parts = ["altup", "laurel", "per_layer_model_projection", "index_q_proj", "index_k_proj"];
    parts.iter().any(|part| path.contains(part))
}
