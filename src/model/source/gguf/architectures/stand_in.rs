//! A plain decoder in place of an architecture without a mapping.
//!
//! It has the layers, heads and widths that the metadata states, so that the cache follows from the keys; bytes come
//! from the file itself. What the architecture computes besides is left out, which every answer says.

use super::{GgufMetadata, Keys, Mapped, expert_count};
use serde_json::{Value, json};

/// Architectures that are no language model to generate with, and what they are.
pub(in super::super) const NO_GENERATION: [(&str, &str); 20] = [
    ("clip", "a vision or audio projector (mmproj), which is loaded beside a language model"),
    ("bert", "a text encoder"),
    ("nomic-bert", "a text encoder"),
    ("nomic-bert-moe", "a text encoder"),
    ("modern-bert", "a text encoder"),
    ("neo-bert", "a text encoder"),
    ("jina-bert-v2", "a text encoder"),
    ("jina-bert-v3", "a text encoder"),
    ("eurobert", "a text encoder"),
    ("gemma-embedding", "an embedding model"),
    ("llama-embed", "an embedding model"),
    ("t5", "an encoder-decoder"),
    ("t5encoder", "a text encoder"),
    ("wavtokenizer-dec", "an audio codec"),
    ("eagle3", "a draft head"),
    ("dflash", "a draft model that needs its target"),
    ("gemma4-assistant", "a draft head"),
    ("flux", "a diffusion model"),
    ("sd3", "a diffusion model"),
    ("wan", "a diffusion model"),
];

/// The keys of a plain decoder of the same shape.
pub(super) fn decoder(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    if file.layers()? == 0 || file.widest("attention.head_count")? == 0 {
        return Err("its layers have no attention heads".to_owned());
    }
    if file.varies("attention.head_count_kv") || file.varies("feed_forward_length") {
        keys.set("block_configs", blocks(file)?);
        keys.set("hidden_act", json!("silu"));
        return Ok("nemotron-nas");
    }
    let Some(count) = expert_count(file) else {
        return Ok("qwen3");
    };
    let used = file.opt("expert_used_count").unwrap_or(1).clamp(1, count);
    let width = file.opt("expert_feed_forward_length").filter(|n| *n > 0);
    let width = width.map_or_else(|| file.widest("feed_forward_length"), Ok)?;
    let leading = file.opt("leading_dense_block_count").unwrap_or(0);
    keys.set("num_experts", json!(count));
    keys.set("num_experts_per_tok", json!(used));
    keys.set("moe_intermediate_size", json!(width));
    keys.default("intermediate_size", json!(width));
    keys.set("decoder_sparse_step", json!(1));
    keys.set("mlp_only_layers", json!((0..leading).collect::<Vec<u64>>()));
    keys.set("norm_topk_prob", json!(true));
    Ok("qwen3_moe")
}

/// Attention and MLP by layer, as Llama-Nemotron's configuration lists them.
pub(super) fn blocks(file: &GgufMetadata<'_>) -> Result<Value, String> {
    let layers = file.layers()? as usize;
    let width = file.need("embedding_length")?;
    let heads = file.widest("attention.head_count")?;
    let kv = file.per_layer("attention.head_count_kv", layers)?;
    let hidden = file.per_layer("feed_forward_length", layers)?;
    let block = |(kv, hidden): (&u64, &u64)| {
        let attention = match heads.checked_div(*kv) {
            Some(group) => json!({ "n_heads_in_group": group.max(1) }),
            None => json!({ "no_op": true }),
        };
        let ffn = match hidden {
            0 => json!({ "no_op": true }),
            n => json!({ "ffn_mult": 3.0 * *n as f64 / (2.0 * width.max(1) as f64) }),
        };
        json!({ "attention": attention, "ffn": ffn })
    };
    Ok(Value::Array(kv.iter().zip(&hidden).map(block).collect()))
}
