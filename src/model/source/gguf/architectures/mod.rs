//! The architectures of llama.cpp that are known here: which model type of mlx-lm each is, and the keys of its own.
//!
//! This is the vocabulary of a file format, as its converter wrote it; families are looked up by the model type that
//! comes out. The keys are those that the family reads in mlx-lm.

mod dense;
mod experts;
mod hybrid;
mod stand_in;

#[cfg(test)]
mod tests;

pub(super) use stand_in::NO_GENERATION;

use super::metadata::{GgufMetadata, Keys, short_decimal};
use serde_json::{Value, json};

/// How the files of one architecture become a configuration.
pub(super) struct Mapping {
    /// Value of `general.architecture`.
    pub architecture: &'static str,
    /// Sets what the common keys leave out and returns the `model_type`.
    pub own_keys: fn(&GgufMetadata<'_>, &mut Keys<'_>) -> Result<&'static str, String>,
}

/// All architectures that have a mapping.
pub(super) const MAPPINGS: &[Mapping] = &[
    Mapping { architecture: "llama", own_keys: llama },
    Mapping { architecture: "mistral3", own_keys: mistral },
    Mapping { architecture: "qwen2", own_keys: |_, _| Ok("qwen2") },
    Mapping { architecture: "qwen2vl", own_keys: |_, _| Ok("qwen2") },
    Mapping { architecture: "dream", own_keys: |_, _| Ok("qwen2") },
    Mapping { architecture: "qwen2moe", own_keys: qwen2_experts },
    Mapping { architecture: "qwen3", own_keys: |_, _| Ok("qwen3") },
    Mapping { architecture: "qwen3moe", own_keys: qwen3_experts },
    Mapping { architecture: "rnd1", own_keys: qwen3_experts },
    Mapping { architecture: "qwen3vl", own_keys: |_, _| Ok("qwen3") },
    Mapping { architecture: "qwen3vlmoe", own_keys: qwen3_experts },
    Mapping { architecture: "gemma", own_keys: dense::gemma },
    Mapping { architecture: "gemma2", own_keys: |_, _| Ok("gemma2") },
    Mapping { architecture: "gemma3", own_keys: gemma3 },
    Mapping { architecture: "gemma3n", own_keys: dense::gemma3n },
    Mapping { architecture: "gemma4", own_keys: dense::gemma4 },
    Mapping { architecture: "phi2", own_keys: dense::phi },
    Mapping { architecture: "phi3", own_keys: phi3 },
    Mapping { architecture: "phimoe", own_keys: experts::phimoe },
    Mapping { architecture: "gpt-oss", own_keys: gpt_oss },
    Mapping { architecture: "deepseek", own_keys: experts::deepseek },
    Mapping { architecture: "deepseek2", own_keys: latent_attention },
    Mapping { architecture: "deepseek32", own_keys: experts::deepseek_v32 },
    Mapping { architecture: "glm-dsa", own_keys: experts::glm_moe_dsa },
    Mapping { architecture: "mistral4", own_keys: experts::mistral4 },
    Mapping { architecture: "kimi-linear", own_keys: hybrid::kimi_linear },
    Mapping { architecture: "glm4", own_keys: glm4 },
    Mapping { architecture: "glm4moe", own_keys: glm4_experts },
    Mapping { architecture: "olmo", own_keys: dense::olmo },
    Mapping { architecture: "olmo2", own_keys: dense::olmo2 },
    Mapping { architecture: "olmoe", own_keys: experts::olmoe },
    Mapping { architecture: "smollm3", own_keys: |_, _| Ok("smollm3") },
    Mapping { architecture: "seed_oss", own_keys: seed_oss },
    Mapping { architecture: "llama4", own_keys: experts::llama4 },
    Mapping { architecture: "deci", own_keys: dense::deci },
    Mapping { architecture: "qwen3next", own_keys: hybrid::qwen3_next },
    Mapping { architecture: "qwen35", own_keys: hybrid::qwen35 },
    Mapping { architecture: "qwen35moe", own_keys: hybrid::qwen35 },
    Mapping { architecture: "command-r", own_keys: dense::cohere },
    Mapping { architecture: "cohere2", own_keys: dense::cohere2 },
    Mapping { architecture: "granite", own_keys: dense::granite },
    Mapping { architecture: "granitemoe", own_keys: experts::granite_experts },
    Mapping { architecture: "granitehybrid", own_keys: hybrid::granite_hybrid },
    Mapping { architecture: "nemotron", own_keys: dense::nemotron },
    Mapping { architecture: "nemotron_h", own_keys: hybrid::nemotron_h },
    Mapping { architecture: "nemotron_h_moe", own_keys: hybrid::nemotron_h },
    Mapping { architecture: "lfm2", own_keys: hybrid::lfm2 },
    Mapping { architecture: "lfm2moe", own_keys: hybrid::lfm2_experts },
    Mapping { architecture: "minimax-m2", own_keys: experts::minimax },
    Mapping { architecture: "exaone", own_keys: dense::exaone },
    Mapping { architecture: "exaone4", own_keys: dense::exaone4 },
    Mapping { architecture: "exaone-moe", own_keys: experts::exaone_experts },
    Mapping { architecture: "apertus", own_keys: dense::apertus },
    Mapping { architecture: "internlm2", own_keys: dense::internlm2 },
    Mapping { architecture: "minicpm", own_keys: dense::minicpm },
    Mapping { architecture: "minicpm3", own_keys: dense::minicpm3 },
    Mapping { architecture: "baichuan", own_keys: llama },
    Mapping { architecture: "xverse", own_keys: llama },
    Mapping { architecture: "starcoder2", own_keys: dense::starcoder2 },
    Mapping { architecture: "starcoder", own_keys: dense::gpt_bigcode },
    Mapping { architecture: "gpt2", own_keys: dense::gpt2 },
    Mapping { architecture: "gptneox", own_keys: dense::gpt_neox },
    Mapping { architecture: "stablelm", own_keys: dense::stablelm },
    Mapping { architecture: "mamba", own_keys: hybrid::mamba },
    Mapping { architecture: "mamba2", own_keys: hybrid::mamba2 },
    Mapping { architecture: "jamba", own_keys: hybrid::jamba },
    Mapping { architecture: "falcon-h1", own_keys: hybrid::falcon_h1 },
    Mapping { architecture: "rwkv7", own_keys: hybrid::rwkv7 },
    Mapping { architecture: "ernie4_5", own_keys: dense::ernie },
    Mapping { architecture: "ernie4_5-moe", own_keys: experts::ernie_experts },
    Mapping { architecture: "hunyuan-dense", own_keys: dense::hunyuan },
    Mapping { architecture: "hunyuan-moe", own_keys: experts::hunyuan_experts },
    Mapping { architecture: "bailingmoe", own_keys: experts::bailing },
    Mapping { architecture: "bailingmoe2", own_keys: experts::bailing },
    Mapping { architecture: "dots1", own_keys: experts::dots1 },
    Mapping { architecture: "afmoe", own_keys: experts::afmoe },
    Mapping { architecture: "mellum", own_keys: experts::mellum },
    Mapping { architecture: "mimo2", own_keys: experts::mimo2 },
];

/// Any architecture, read as a plain decoder of the same shape.
pub(super) const STAND_IN: Mapping = Mapping { architecture: "", own_keys: stand_in::decoder };

type Mapped = Result<&'static str, String>;

/// Whether the queries are shifted after their projection.
fn q_bias(file: &GgufMetadata<'_>) -> bool {
    file.has_tensor("blk.0.attn_q.bias")
}

fn expert_count(file: &GgufMetadata<'_>) -> Option<u64> {
    file.opt("expert_count").filter(|n| *n > 0)
}

fn llama(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    if let Some(experts) = expert_count(file) {
        keys.set("num_local_experts", json!(experts));
        keys.set("num_experts_per_tok", json!(file.need("expert_used_count")?));
        return Ok("mixtral");
    }
    keys.set("attention_bias", json!(q_bias(file)));
    keys.set("mlp_bias", json!(file.has_tensor("blk.0.ffn_down.bias")));
    Ok("llama")
}

fn mistral(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    if expert_count(file).is_some() {
        return Err("Mistral models with experts are not mapped from GGUF".to_owned());
    }
    let mut rope = file.rope_scaling().unwrap_or_default();
    let original = file.opt("rope.scaling.original_context_length");
    let original = original.or_else(|| file.info.context_length());
    let beta = file.number("attention.temperature_scale").unwrap_or(0.0);
    let theta = file.number("rope.freq_base").unwrap_or(10_000.0);
    rope.insert("rope_theta".to_owned(), json!(short_decimal(theta)));
    rope.insert("llama_4_scaling_beta".to_owned(), json!(short_decimal(beta)));
    rope.insert("original_max_position_embeddings".to_owned(), json!(original));
    keys.set("rope_parameters", Value::Object(rope));
    Ok("ministral3")
}

fn qwen2_experts(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    routed(file, keys)?;
    let shared = file.need("expert_shared_feed_forward_length")?;
    keys.set("shared_expert_intermediate_size", json!(shared));
    Ok("qwen2_moe")
}

fn qwen3_experts(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    routed(file, keys)?;
    keys.set("decoder_sparse_step", json!(1));
    keys.set("mlp_only_layers", json!([]));
    keys.set("norm_topk_prob", json!(true));
    Ok("qwen3_moe")
}

fn gemma3(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("sliding_window", json!(file.need("attention.sliding_window")?));
    // Five sliding layers and a full one in all sizes; llama.cpp has it built in as well.
    keys.set("sliding_window_pattern", json!(6));
    Ok("gemma3_text")
}

fn phi3(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    partial_rotary(file, keys)?;
    Ok("phi3")
}

fn gpt_oss(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    local_experts(file, keys)?;
    keys.set("intermediate_size", json!(file.need("expert_feed_forward_length")?));
    keys.set("sliding_window", json!(file.need("attention.sliding_window")?));
    Ok("gpt_oss")
}

fn glm4(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("attention_bias", json!(q_bias(file)));
    partial_rotary(file, keys)?;
    Ok("glm4")
}

fn glm4_experts(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    routed_and_shared(file, keys)?;
    keys.set("attention_bias", json!(q_bias(file)));
    keys.set("use_qk_norm", json!(file.has_tensor("blk.0.attn_q_norm.weight")));
    keys.set("rope_scaling", file.rope_scaling().map_or(Value::Null, Value::Object));
    partial_rotary(file, keys)?;
    Ok("glm4_moe")
}

fn seed_oss(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("attention_bias", json!(q_bias(file)));
    keys.set("attention_out_bias", json!(file.has_tensor("blk.0.attn_output.bias")));
    Ok("seed_oss")
}

/// The number of experts as Mixtral names it.
fn local_experts(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Result<(), String> {
    keys.set("num_local_experts", json!(file.need("expert_count")?));
    keys.set("num_experts_per_tok", json!(file.need("expert_used_count")?));
    Ok(())
}

/// Routed experts as Qwen names them.
fn routed(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Result<(), String> {
    keys.set("num_experts", json!(file.need("expert_count")?));
    keys.set("num_experts_per_tok", json!(file.need("expert_used_count")?));
    keys.set("moe_intermediate_size", json!(file.need("expert_feed_forward_length")?));
    Ok(())
}

/// Routed and shared experts behind leading dense layers, as DeepSeek and GLM have them.
fn routed_and_shared(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Result<(), String> {
    keys.set("n_routed_experts", json!(file.need("expert_count")?));
    keys.set("n_shared_experts", json!(file.opt("expert_shared_count").filter(|n| *n > 0)));
    keys.set("num_experts_per_tok", json!(file.need("expert_used_count")?));
    keys.set("moe_intermediate_size", json!(file.need("expert_feed_forward_length")?));
    keys.set("first_k_dense_replace", json!(file.opt("leading_dense_block_count").unwrap_or(0)));
    keys.set("moe_layer_freq", json!(1));
    keys.set("n_group", json!(file.opt("expert_group_count").unwrap_or(1)));
    keys.set("topk_group", json!(file.opt("expert_group_used_count").unwrap_or(1)));
    keys.set("norm_topk_prob", json!(true));
    let scale = file.number("expert_weights_scale").unwrap_or(1.0);
    keys.set("routed_scaling_factor", json!(short_decimal(scale)));
    Ok(())
}

/// Multi-head latent attention. Files from before llama.cpp had the compressed cache lack the `_mla` keys.
fn latent(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Result<(), String> {
    routed_and_shared(file, keys)?;
    let rope = file.need("rope.dimension_count")?;
    let length =
        |with_mla: &str, without: &str| file.opt(with_mla).map_or_else(|| file.need(without), Ok);
    let key = length("attention.key_length_mla", "attention.key_length")?;
    let value = length("attention.value_length_mla", "attention.value_length")?;
    let Some(nope) = key.checked_sub(rope) else {
        return Err(format!("keys of {key} dimensions cannot hold {rope} rotated ones"));
    };
    keys.set("num_key_value_heads", json!(file.widest("attention.head_count")?));
    keys.set("q_lora_rank", json!(file.opt("attention.q_lora_rank").filter(|n| *n > 0)));
    keys.set("kv_lora_rank", json!(file.need("attention.kv_lora_rank")?));
    keys.set("qk_rope_head_dim", json!(rope));
    keys.set("qk_nope_head_dim", json!(nope));
    keys.set("v_head_dim", json!(value));
    Ok(())
}

fn latent_attention(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    latent(file, keys)?;
    // llama.cpp's gating functions: 1 softmax (DeepSeek-V2), 2 sigmoid (DeepSeek-V3, Kimi-K2, GLM-4.7-Flash).
    Ok(if file.opt("expert_gating_func") == Some(2) { "deepseek_v3" } else { "deepseek_v2" })
}

fn partial_rotary(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Result<(), String> {
    let head = file.head_dim()?;
    let rotated = file.opt("rope.dimension_count").unwrap_or(head);
    keys.set("partial_rotary_factor", json!(rotated as f64 / head.max(1) as f64));
    Ok(())
}
