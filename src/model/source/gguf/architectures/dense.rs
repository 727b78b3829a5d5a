//! Decoders without experts and states.

use super::{GgufMetadata, Keys, Mapped, partial_rotary, q_bias};
use serde_json::{Value, json};

/// Keys of LayerNorm families, whose epsilon stands under another key.
fn layer_norm(file: &GgufMetadata<'_>, keys: &mut Keys<'_>, name: &str) {
    keys.set(name, json!(file.decimal("attention.layer_norm_epsilon").unwrap_or(1e-5)));
}

pub(super) fn gemma(_: &GgufMetadata<'_>, _: &mut Keys<'_>) -> Mapped {
    Ok("gemma")
}

pub(super) fn phi(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    layer_norm(file, keys, "layer_norm_eps");
    partial_rotary(file, keys)?;
    Ok("phi")
}

pub(super) fn cohere(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    layer_norm(file, keys, "layer_norm_eps");
    keys.set("use_qk_norm", json!(file.has_tensor("blk.0.attn_q_norm.weight")));
    keys.set("logit_scale", json!(file.decimal("logit_scale").unwrap_or(0.0625)));
    Ok("cohere")
}

pub(super) fn cohere2(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    layer_norm(file, keys, "layer_norm_eps");
    keys.set("logit_scale", json!(file.decimal("logit_scale").unwrap_or(0.0625)));
    keys.set("sliding_window", json!(file.need("attention.sliding_window")?));
    // Three sliding layers and a full one; llama.cpp has it built in.
    keys.set("sliding_window_pattern", json!(4));
    Ok("cohere2")
}

/// The multipliers of Granite.
pub(super) fn granite_scales(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) {
    for (key, own) in [
        ("embedding_multiplier", "embedding_scale"),
        ("attention_multiplier", "attention.scale"),
        ("residual_multiplier", "residual_scale"),
        ("logits_scaling", "logit_scale"),
    ] {
        keys.set(key, json!(file.decimal(own).unwrap_or(1.0)));
    }
    keys.set("attention_bias", json!(q_bias(file)));
    keys.set("mlp_bias", json!(file.has_tensor("blk.0.ffn_down.bias")));
}

pub(super) fn granite(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    granite_scales(file, keys);
    Ok("granite")
}

pub(super) fn nemotron(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    layer_norm(file, keys, "norm_eps");
    keys.set("attention_bias", json!(q_bias(file)));
    keys.set("mlp_bias", json!(file.has_tensor("blk.0.ffn_down.bias")));
    keys.set("hidden_act", json!("relu2"));
    partial_rotary(file, keys)?;
    Ok("nemotron")
}

pub(super) fn exaone(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("num_layers", json!(file.layers()?));
    keys.set("layer_norm_epsilon", json!(file.rms_epsilon()));
    Ok("exaone")
}

pub(super) fn exaone4(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    let window = file.opt("attention.sliding_window").filter(|n| *n > 0);
    keys.set("sliding_window", json!(window));
    // The 32B has three sliding layers and a full one, the 1.2B has full ones only.
    keys.set("sliding_window_pattern", window.map_or(Value::Null, |_| json!("LLLG")));
    Ok("exaone4")
}

pub(super) fn olmo(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("d_model", json!(file.need("embedding_length")?));
    keys.set("n_layers", json!(file.layers()?));
    keys.set("n_heads", json!(file.need("attention.head_count")?));
    // OLMo's key counts gate and up projection together.
    keys.set("mlp_hidden_size", json!(2 * file.need("feed_forward_length")?));
    keys.set("embedding_size", json!(file.info.vocabulary()));
    keys.set("weight_tying", json!(!file.has_tensor("output.weight")));
    Ok("olmo")
}

/// OLMo 2, and with sliding windows OLMo 3, whose every fourth layer is full.
pub(super) fn olmo2(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    let Some(window) = file.opt("attention.sliding_window").filter(|n| *n > 0) else {
        return Ok("olmo2");
    };
    keys.set("sliding_window", json!(window));
    keys.set("layer_types", json!(file.kinds(4)?));
    Ok("olmo3")
}

pub(super) fn apertus(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("mlp_bias", json!(file.has_tensor("blk.0.ffn_down.bias")));
    keys.set("post_norm", json!(false));
    keys.set("qk_norm", json!(true));
    Ok("apertus")
}

pub(super) fn internlm2(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("bias", json!(q_bias(file)));
    Ok("internlm2")
}

pub(super) fn minicpm(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    scales_of_minicpm(file, keys)?;
    Ok("minicpm")
}

fn scales_of_minicpm(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Result<(), String> {
    keys.set("scale_emb", json!(file.decimal("embedding_scale").unwrap_or(12.0)));
    let depth = file.decimal("residual_scale").unwrap_or(0.25);
    keys.set("scale_depth", json!(depth * (file.layers()? as f64).sqrt()));
    keys.set("dim_model_base", json!(256));
    Ok(())
}

pub(super) fn minicpm3(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    scales_of_minicpm(file, keys)?;
    let rope = file.need("rope.dimension_count")?;
    let key = file.need("attention.key_length")?;
    let nope = key.checked_sub(rope).ok_or("keys shorter than their rotated part")?;
    keys.set("q_lora_rank", json!(file.need("attention.q_lora_rank")?));
    keys.set("kv_lora_rank", json!(file.need("attention.kv_lora_rank")?));
    keys.set("qk_rope_head_dim", json!(rope));
    keys.set("qk_nope_head_dim", json!(nope));
    Ok("minicpm3")
}

pub(super) fn starcoder2(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    layer_norm(file, keys, "norm_epsilon");
    Ok("starcoder2")
}

/// The key names that GPT-2's family has.
fn gpt_keys(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Result<(), String> {
    layer_norm(file, keys, "layer_norm_epsilon");
    keys.set("n_embd", json!(file.need("embedding_length")?));
    keys.set("n_layer", json!(file.layers()?));
    keys.set("n_head", json!(file.need("attention.head_count")?));
    keys.set("n_positions", json!(file.need("context_length")?));
    keys.set("n_ctx", json!(file.need("context_length")?));
    keys.set("n_inner", json!(file.need("feed_forward_length")?));
    Ok(())
}

pub(super) fn gpt2(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    gpt_keys(file, keys)?;
    Ok("gpt2")
}

pub(super) fn gpt_bigcode(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    gpt_keys(file, keys)?;
    keys.set("multi_query", json!(file.opt("attention.head_count_kv") == Some(1)));
    Ok("gpt_bigcode")
}

pub(super) fn gpt_neox(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    layer_norm(file, keys, "layer_norm_eps");
    let head = file.head_dim()?;
    let rotated = file.opt("rope.dimension_count").unwrap_or(head);
    keys.set("rotary_pct", json!(rotated as f64 / head.max(1) as f64));
    keys.set("rotary_emb_base", json!(file.decimal("rope.freq_base").unwrap_or(10_000.0)));
    keys.set("use_parallel_residual", json!(true));
    Ok("gpt_neox")
}

pub(super) fn stablelm(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    layer_norm(file, keys, "layer_norm_eps");
    keys.set("use_qkv_bias", json!(q_bias(file)));
    keys.set("qk_layernorm", json!(file.has_tensor("blk.0.attn_q_norm.weight")));
    let parallel = !file.has_tensor("blk.0.ffn_norm.weight");
    keys.set("use_parallel_residual", json!(parallel));
    partial_rotary(file, keys)?;
    Ok("stablelm")
}

pub(super) fn ernie(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("use_bias", json!(q_bias(file)));
    Ok("ernie4_5")
}

pub(super) fn hunyuan(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("attention_bias", json!(q_bias(file)));
    keys.set("use_qk_norm", json!(file.has_tensor("blk.0.attn_q_norm.weight")));
    Ok("hunyuan_v1_dense")
}

/// Llama-Nemotron: heads and widths by layer, 0 where the search removed a part.
pub(super) fn deci(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("block_configs", super::stand_in::blocks(file)?);
    keys.set("hidden_act", json!("silu"));
    Ok("nemotron-nas")
}

/// Gemma 4: windows, wide full heads and shared keys by layer.
pub(super) fn gemma4(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    let sliding = file.array("attention.sliding_window_pattern")?;
    let layers = file.layers()? as usize;
    if sliding.len() < layers {
        return Err("attention.sliding_window_pattern is no list of all layers".to_owned());
    }
    let sliding = &sliding[..layers];
    let kinds: Vec<&str> = sliding
        .iter()
        .map(|s| if *s == 0 { "full_attention" } else { "sliding_attention" })
        .collect();
    let kv = file.per_layer("attention.head_count_kv", layers)?;
    let of = |wanted: bool| {
        sliding.iter().zip(&kv).find(|(s, _)| (**s != 0) == wanted).map(|(_, kv)| *kv)
    };
    let full = file.need("attention.key_length")?;
    keys.set("layer_types", json!(kinds));
    keys.set("head_dim", json!(file.opt("attention.key_length_swa").unwrap_or(full)));
    keys.set("global_head_dim", json!(full));
    keys.set("num_key_value_heads", json!(of(true)));
    keys.set("num_global_key_value_heads", json!(of(false)));
    keys.set("sliding_window", json!(file.need("attention.sliding_window")?));
    let shared = file.opt("attention.shared_kv_layers").unwrap_or(0);
    keys.set("num_kv_shared_layers", json!(shared));
    let per_layer = file.opt("embedding_length_per_layer_input").unwrap_or(0);
    keys.set("hidden_size_per_layer_input", json!(per_layer));
    keys.set("vocab_size_per_layer_input", json!(file.info.vocabulary()));
    let widths = file.per_layer("feed_forward_length", layers)?;
    keys.set("intermediate_size", json!(widths.iter().min()));
    keys.set("use_double_wide_mlp", json!(widths.iter().min() != widths.iter().max()));
    let first_full = sliding.iter().position(|s| *s == 0).unwrap_or(0);
    let same = !file.has_tensor(&format!("blk.{first_full}.attn_v.weight"));
    keys.set("attention_k_eq_v", json!(same));
    if let Some(experts) = super::expert_count(file) {
        keys.set("enable_moe_block", json!(true));
        keys.set("num_experts", json!(experts));
        keys.set("top_k_experts", json!(file.need("expert_used_count")?));
        keys.set("moe_intermediate_size", json!(file.need("expert_feed_forward_length")?));
    }
    Ok("gemma4_text")
}

/// Gemma 3n: a shared embedding by layer, low-rank residuals and four copies of the stream.
pub(super) fn gemma3n(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    let layers = file.layers()? as usize;
    let sliding = file.array("attention.sliding_window_pattern")?;
    let kinds: Vec<&str> = (0..layers)
        .map(|i| match sliding.get(i) {
            Some(0) => "full_attention",
            _ => "sliding_attention",
        })
        .collect();
    keys.set("layer_types", json!(kinds));
    keys.set("sliding_window", json!(file.need("attention.sliding_window")?));
    keys.set("num_kv_shared_layers", json!(file.need("attention.shared_kv_layers")?));
    keys.set("hidden_size_per_layer_input", json!(file.need("embedding_length_per_layer_input")?));
    keys.set("vocab_size_per_layer_input", json!(file.info.vocabulary()));
    keys.set("altup_num_inputs", json!(file.need("altup.num_inputs")?));
    keys.set("altup_active_idx", json!(file.need("altup.active_idx")?));
    keys.set("altup_correct_scale", json!(true));
    let rank = file.info.tensor("blk.0.laurel_l.weight").and_then(|t| t.dims.get(1)).copied();
    keys.set("laurel_rank", json!(rank.unwrap_or(64)));
    keys.set("activation_sparsity_pattern", json!(vec![0.0; layers]));
    keys.set("rope_local_base_freq", json!(10_000.0));
    keys.set("final_logit_softcapping", json!(30.0));
    Ok("gemma3n")
}
