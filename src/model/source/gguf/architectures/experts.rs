//! Decoders with routed experts.

use super::{
    GgufMetadata, Keys, Mapped, dense, latent, local_experts, partial_rotary, q_bias, routed,
    routed_and_shared,
};
use serde_json::json;

fn scaling_factor(file: &GgufMetadata<'_>) -> f64 {
    file.decimal("expert_weights_scale").unwrap_or(1.0)
}

pub(super) fn llama4(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    let step = file.need("interleave_moe_layer_step")?;
    let layers = file.layers()? as usize;
    local_experts(file, keys)?;
    keys.set("intermediate_size", json!(file.need("expert_feed_forward_length")?));
    keys.set("intermediate_size_mlp", json!(file.need("feed_forward_length")?));
    keys.set("interleave_moe_layer_step", json!(step));
    keys.set("attention_chunk_size", json!(file.opt("attention.chunk_size").unwrap_or(8192)));
    // Every fourth layer is full and not rotated; llama.cpp has it built in.
    let rotated: Vec<u64> = (0..layers).map(|i| u64::from((i + 1) % 4 != 0)).collect();
    keys.set("no_rope_layers", json!(rotated));
    keys.set("use_qk_norm", json!(true));
    keys.set("attention_bias", json!(q_bias(file)));
    keys.nest("text_config");
    Ok("llama4")
}

pub(super) fn phimoe(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    local_experts(file, keys)?;
    let width = file.opt("expert_feed_forward_length");
    keys.set(
        "intermediate_size",
        json!(width.map_or_else(|| file.need("feed_forward_length"), Ok)?),
    );
    Ok("phimoe")
}

pub(super) fn olmoe(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("num_experts", json!(file.need("expert_count")?));
    keys.set("num_experts_per_tok", json!(file.need("expert_used_count")?));
    Ok("olmoe")
}

pub(super) fn granite_experts(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    if file.opt("expert_shared_feed_forward_length").is_some_and(|n| n > 0) {
        return Err("Granite with a shared expert and no states is not mapped".to_owned());
    }
    dense::granite_scales(file, keys);
    local_experts(file, keys)?;
    Ok("granitemoe")
}

pub(super) fn deepseek(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    routed_and_shared(file, keys)?;
    keys.set("attention_bias", json!(q_bias(file)));
    Ok("deepseek")
}

pub(super) fn dots1(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    routed_and_shared(file, keys)?;
    keys.set("attention_bias", json!(q_bias(file)));
    Ok("dots1")
}

/// DeepSeek V3.2 and GLM-5: latent attention with an indexer.
fn indexed(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Result<(), String> {
    latent(file, keys)?;
    keys.set("index_n_heads", json!(file.need("attention.indexer.head_count")?));
    keys.set("index_head_dim", json!(file.need("attention.indexer.key_length")?));
    keys.set("index_topk", json!(file.need("attention.indexer.top_k")?));
    Ok(())
}

pub(super) fn deepseek_v32(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    indexed(file, keys)?;
    Ok("deepseek_v32")
}

pub(super) fn glm_moe_dsa(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    indexed(file, keys)?;
    let theta = file.decimal("rope.freq_base").unwrap_or(1_000_000.0);
    keys.set("rope_parameters", json!({ "rope_theta": theta, "rope_type": "default" }));
    Ok("glm_moe_dsa")
}

pub(super) fn mistral4(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    latent(file, keys)?;
    let mut rope = file.rope_scaling().unwrap_or_default();
    rope.insert("rope_theta".into(), json!(file.decimal("rope.freq_base").unwrap_or(10_000.0)));
    rope.insert("rope_type".into(), json!("yarn"));
    let length = file.opt("rope.scaling.original_context_length");
    let length = length.or_else(|| file.info.context_length());
    rope.insert("original_max_position_embeddings".into(), json!(length));
    keys.set("rope_parameters", json!(rope));
    keys.set("rope_interleave", json!(true));
    Ok("mistral4")
}

pub(super) fn minimax(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    local_experts(file, keys)?;
    let width = file.opt("expert_feed_forward_length");
    keys.set(
        "intermediate_size",
        json!(width.map_or_else(|| file.need("feed_forward_length"), Ok)?),
    );
    keys.set("rotary_dim", json!(file.need("rope.dimension_count")?));
    keys.set("use_qk_norm", json!(true));
    keys.set("shared_intermediate_size", json!(0));
    Ok("minimax_m2")
}

pub(super) fn ernie_experts(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("moe_num_experts", json!(file.need("expert_count")?));
    keys.set("moe_k", json!(file.need("expert_used_count")?));
    keys.set("moe_intermediate_size", json!(file.need("expert_feed_forward_length")?));
    keys.set("moe_num_shared_experts", json!(file.opt("expert_shared_count").unwrap_or(0)));
    keys.set("moe_layer_start_index", json!(file.opt("leading_dense_block_count").unwrap_or(0)));
    keys.set("moe_layer_interval", json!(file.opt("interleave_moe_layer_step").unwrap_or(1)));
    keys.set("use_bias", json!(q_bias(file)));
    Ok("ernie4_5_moe")
}

pub(super) fn hunyuan_experts(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("num_experts", json!(file.need("expert_count")?));
    keys.set("moe_topk", json!(file.need("expert_used_count")?));
    keys.set("num_shared_expert", json!(file.opt("expert_shared_count").unwrap_or(1)));
    let width = file.need("expert_feed_forward_length")?;
    keys.set("moe_intermediate_size", json!(width));
    keys.set("intermediate_size", json!(width));
    keys.set("use_mixed_mlp_moe", json!(true));
    keys.set("use_qk_norm", json!(file.has_tensor("blk.0.attn_q_norm.weight")));
    keys.set("attention_bias", json!(q_bias(file)));
    keys.set("use_cla", json!(false));
    Ok("hunyuan_v1_moe")
}

pub(super) fn bailing(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    routed(file, keys)?;
    keys.set("num_shared_experts", json!(file.opt("expert_shared_count").unwrap_or(0)));
    keys.set("first_k_dense_replace", json!(file.opt("leading_dense_block_count").unwrap_or(0)));
    keys.set("norm_topk_prob", json!(true));
    keys.set("n_group", json!(file.opt("expert_group_count").unwrap_or(1).max(1)));
    keys.set("topk_group", json!(file.opt("expert_group_used_count").unwrap_or(1).max(1)));
    keys.set("routed_scaling_factor", json!(scaling_factor(file)));
    keys.set("use_qk_norm", json!(file.has_tensor("blk.0.attn_q_norm.weight")));
    let bias = file.has_tensor("blk.1.exp_probs_b.bias");
    keys.set("moe_router_enable_expert_bias", json!(bias));
    partial_rotary(file, keys)?;
    Ok("bailing_moe")
}

pub(super) fn afmoe(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    routed(file, keys)?;
    keys.set("num_shared_experts", json!(file.opt("expert_shared_count").unwrap_or(1)));
    keys.set("num_dense_layers", json!(file.opt("leading_dense_block_count").unwrap_or(0)));
    keys.set("sliding_window", json!(file.need("attention.sliding_window")?));
    keys.set("layer_types", json!(file.kinds(4)?));
    keys.set("route_scale", json!(scaling_factor(file)));
    Ok("afmoe")
}

pub(super) fn exaone_experts(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    routed(file, keys)?;
    let dense = file.opt("leading_dense_block_count").unwrap_or(0);
    let layers = file.layers()?;
    keys.set("num_shared_experts", json!(file.opt("expert_shared_count").unwrap_or(1)));
    keys.set("is_moe_layer", json!((0..layers).map(|i| i >= dense).collect::<Vec<bool>>()));
    keys.set("sliding_window", json!(file.need("attention.sliding_window")?));
    keys.set("layer_types", json!(file.kinds(4)?));
    keys.set("norm_topk_prob", json!(true));
    keys.set("n_group", json!(file.opt("expert_group_count").unwrap_or(1).max(1)));
    keys.set("topk_group", json!(file.opt("expert_group_used_count").unwrap_or(1).max(1)));
    keys.set("routed_scaling_factor", json!(scaling_factor(file)));
    Ok("exaone_moe")
}

pub(super) fn mimo2(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    let layers = file.layers()? as usize;
    let sliding = file.array("attention.sliding_window_pattern")?;
    let kv = file.per_layer("attention.head_count_kv", layers)?;
    let local = |i: usize| sliding.get(i).is_some_and(|s| *s != 0);
    let of = |wanted: bool| (0..layers).find(|i| local(*i) == wanted).map(|i| kv[i]);
    let dense = file.opt("leading_dense_block_count").unwrap_or(1) as usize;
    let flag = |on: bool| u64::from(on);
    keys.set(
        "hybrid_layer_pattern",
        json!((0..layers).map(|i| flag(local(i))).collect::<Vec<_>>()),
    );
    let routed: Vec<u64> = (0..layers).map(|i| flag(i >= dense)).collect();
    keys.set("moe_layer_freq", json!(routed));
    let heads = file.widest("attention.head_count")?;
    let (key, value) = (file.need("attention.key_length")?, file.need("attention.value_length")?);
    keys.set("num_key_value_heads", json!(of(false)));
    keys.set("swa_num_key_value_heads", json!(of(true)));
    keys.set("swa_num_attention_heads", json!(heads));
    keys.set("head_dim", json!(key));
    keys.set("v_head_dim", json!(value));
    keys.set("swa_head_dim", json!(file.opt("attention.key_length_swa").unwrap_or(key)));
    keys.set("swa_v_head_dim", json!(file.opt("attention.value_length_swa").unwrap_or(value)));
    keys.set("sliding_window_size", json!(file.need("attention.sliding_window")?));
    keys.set("sliding_window", json!(file.need("attention.sliding_window")?));
    keys.set("swa_rope_theta", json!(file.decimal("rope.freq_base_swa").unwrap_or(10_000.0)));
    keys.set("layernorm_epsilon", json!(file.rms_epsilon()));
    keys.set("n_routed_experts", json!(file.need("expert_count")?));
    keys.set("n_shared_experts", serde_json::Value::Null);
    keys.set("num_experts_per_tok", json!(file.need("expert_used_count")?));
    keys.set("moe_intermediate_size", json!(file.need("expert_feed_forward_length")?));
    keys.set("norm_topk_prob", json!(true));
    keys.set("scoring_func", json!("sigmoid"));
    keys.set("topk_method", json!("noaux_tc"));
    keys.set("n_group", json!(1));
    keys.set("topk_group", json!(1));
    keys.set("routed_scaling_factor", serde_json::Value::Null);
    keys.set("add_swa_attention_sink_bias", json!(true));
    keys.set("add_full_attention_sink_bias", json!(false));
    keys.set("attention_bias", json!(q_bias(file)));
    partial_rotary(file, keys)?;
    Ok("mimo_v2_flash")
}

pub(super) fn mellum(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    routed(file, keys)?;
    keys.set("norm_topk_prob", json!(true));
    let window = file.opt("attention.sliding_window").unwrap_or(0);
    keys.set("sliding_window", json!(window.max(1)));
    let layers = file.layers()?;
    let kinds = if window > 0 { file.kinds(4)? } else { vec!["full_attention"; layers as usize] };
    keys.set("layer_types", json!(kinds));
    let theta = file.decimal("rope.freq_base").unwrap_or(10_000.0);
    let rope = json!({ "rope_type": "default", "rope_theta": theta });
    keys.set("rope_parameters", json!({ "full_attention": rope, "sliding_attention": rope }));
    Ok("mellum")
}
