//! Decoders with recurrent or convolution states.

use super::{GgufMetadata, Keys, Mapped, dense, expert_count, latent};
use serde_json::{Value, json};

/// Gated delta layers, as Qwen3-Next and Qwen3.5 have them.
fn delta(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Result<(), String> {
    let values = file.need("ssm.time_step_rank")?;
    let inner = file.need("ssm.inner_size")?;
    let value = inner.checked_div(values).ok_or("ssm.time_step_rank is 0")?;
    keys.set("linear_num_key_heads", json!(file.need("ssm.group_count")?));
    keys.set("linear_num_value_heads", json!(values));
    keys.set("linear_key_head_dim", json!(file.need("ssm.state_size")?));
    keys.set("linear_value_head_dim", json!(value));
    keys.set("linear_conv_kernel_dim", json!(file.need("ssm.conv_kernel")?));
    keys.set("full_attention_interval", json!(file.opt("full_attention_interval").unwrap_or(4)));
    if expert_count(file).is_some() {
        super::routed(file, keys)?;
        let shared = file.need("expert_shared_feed_forward_length")?;
        keys.set("shared_expert_intermediate_size", json!(shared));
        keys.set("norm_topk_prob", json!(true));
        keys.set("decoder_sparse_step", json!(1));
        keys.set("mlp_only_layers", json!([]));
        // Read by the family, used by no layer of a mixture.
        keys.default("intermediate_size", json!(shared));
    }
    super::partial_rotary(file, keys)
}

pub(super) fn qwen3_next(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    delta(file, keys)?;
    Ok("qwen3_next")
}

pub(super) fn qwen35(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    delta(file, keys)?;
    let theta = file.decimal("rope.freq_base").unwrap_or(10_000_000.0);
    let head = file.head_dim()?.max(1);
    let part = file.opt("rope.dimension_count").unwrap_or(head / 4) as f64 / head as f64;
    let rope = json!({ "rope_type": "default", "type": "default", "rope_theta": theta, "partial_rotary_factor": part });
    keys.set("rope_parameters", rope);
    let routed = expert_count(file).is_some();
    keys.set("num_experts", json!(expert_count(file).unwrap_or(0)));
    keys.nest("text_config");
    Ok(if routed { "qwen3_5_moe" } else { "qwen3_5" })
}

/// Layers that have attention: those with key heads.
fn attention_layers(file: &GgufMetadata<'_>) -> Result<Vec<u64>, String> {
    let layers = file.layers()? as usize;
    let heads = file.per_layer("attention.head_count_kv", layers)?;
    let with = heads.iter().enumerate().filter(|(_, n)| **n > 0);
    Ok(with.map(|(i, _)| i as u64).collect())
}

fn short_convolutions(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Result<(), String> {
    keys.set("full_attn_idxs", json!(attention_layers(file)?));
    keys.set("conv_L_cache", json!(file.need("shortconv.l_cache")?));
    keys.set("conv_bias", json!(file.has_tensor("blk.0.shortconv.conv.bias")));
    keys.set("norm_eps", json!(file.rms_epsilon()));
    Ok(())
}

pub(super) fn lfm2(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    short_convolutions(file, keys)?;
    let width = file.widest("feed_forward_length")?;
    keys.set("block_dim", json!(file.need("embedding_length")?));
    keys.set("block_ff_dim", json!(width));
    keys.set("block_multiple_of", json!(1));
    keys.set("block_ffn_dim_multiplier", json!(1.0));
    keys.set("block_auto_adjust_ff_dim", json!(false));
    Ok("lfm2")
}

pub(super) fn lfm2_experts(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    short_convolutions(file, keys)?;
    super::routed(file, keys)?;
    keys.set("num_dense_layers", json!(file.opt("leading_dense_block_count").unwrap_or(0)));
    keys.set("norm_topk_prob", json!(true));
    keys.set("use_expert_bias", json!(true));
    Ok("lfm2_moe")
}

/// Sizes of Mamba 2 layers: heads, their size, states, groups, kernel.
struct Mamba2 {
    heads: u64,
    head: u64,
    state: u64,
    groups: u64,
    kernel: u64,
}

fn mamba2_sizes(file: &GgufMetadata<'_>) -> Result<Mamba2, String> {
    let heads = file.need("ssm.time_step_rank")?;
    let inner = file.need("ssm.inner_size")?;
    Ok(Mamba2 {
        heads,
        head: inner.checked_div(heads).ok_or("ssm.time_step_rank is 0")?,
        state: file.need("ssm.state_size")?,
        groups: file.opt("ssm.group_count").unwrap_or(1),
        kernel: file.need("ssm.conv_kernel")?,
    })
}

/// The keys of Granite 4 and Falcon H1.
fn mamba_keys(file: &GgufMetadata<'_>, keys: &mut Keys<'_>, layer: u64) -> Result<Mamba2, String> {
    let m = mamba2_sizes(file)?;
    keys.set("mamba_n_heads", json!(m.heads));
    keys.set("mamba_d_head", json!(m.head));
    keys.set("mamba_d_state", json!(m.state));
    keys.set("mamba_n_groups", json!(m.groups));
    keys.set("mamba_d_conv", json!(m.kernel));
    let has = |name: &str| file.has_tensor(&format!("blk.{layer}.{name}"));
    keys.set("mamba_conv_bias", json!(has("ssm_conv1d.bias")));
    keys.set("mamba_proj_bias", json!(has("ssm_in.bias")));
    Ok(m)
}

pub(super) fn granite_hybrid(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    let attention = attention_layers(file)?;
    let layers = file.layers()?;
    let first = (0..layers).find(|i| !attention.contains(i)).unwrap_or(0);
    mamba_keys(file, keys, first)?;
    dense::granite_scales(file, keys);
    let kind = |i| if attention.contains(&i) { "attention" } else { "mamba" };
    keys.set("layer_types", json!((0..layers).map(kind).collect::<Vec<_>>()));
    let count = expert_count(file).unwrap_or(0);
    keys.set("num_local_experts", json!(count));
    if count > 0 {
        keys.set("num_experts_per_tok", json!(file.need("expert_used_count")?));
        let width = file.opt("expert_feed_forward_length").filter(|n| *n > 0);
        keys.set(
            "intermediate_size",
            json!(width.map_or_else(|| file.widest("feed_forward_length"), Ok)?),
        );
    }
    let shared = file.opt("expert_shared_feed_forward_length").filter(|n| *n > 0);
    let shared = shared.map_or_else(|| file.widest("feed_forward_length"), Ok)?;
    keys.set("shared_intermediate_size", json!(shared));
    let rotated = file.opt("rope.dimension_count").is_some_and(|n| n > 0);
    let position = if rotated && attention.len() as u64 == layers { "rope" } else { "nope" };
    keys.set("position_embedding_type", json!(position));
    Ok("granitemoehybrid")
}

pub(super) fn nemotron_h(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    let layers = file.layers()? as usize;
    let kv = file.per_layer("attention.head_count_kv", layers)?;
    let widths = file.per_layer("feed_forward_length", layers)?;
    let routed = expert_count(file);
    let pattern: String = kv
        .iter()
        .zip(&widths)
        .map(|(kv, width)| match (kv, width) {
            (0, 0) => 'M',
            (0, _) if routed.is_some() => 'E',
            (0, _) => '-',
            _ => '*',
        })
        .collect();
    let m = mamba2_sizes(file)?;
    keys.set("hybrid_override_pattern", json!(pattern));
    keys.set("mamba_num_heads", json!(m.heads));
    keys.set("mamba_head_dim", json!(m.head));
    keys.set("ssm_state_size", json!(m.state));
    keys.set("n_groups", json!(m.groups));
    keys.set("conv_kernel", json!(m.kernel));
    keys.set("use_conv_bias", json!(true));
    keys.set("mamba_proj_bias", json!(false));
    keys.set("mlp_bias", json!(false));
    keys.set("attention_bias", json!(false));
    keys.set("layer_norm_epsilon", json!(file.rms_epsilon()));
    keys.set("intermediate_size", json!(widths.iter().max()));
    if let Some(count) = routed {
        keys.set("n_routed_experts", json!(count));
        keys.set("num_experts_per_tok", json!(file.need("expert_used_count")?));
        keys.set("moe_intermediate_size", json!(file.need("expert_feed_forward_length")?));
        keys.set("n_shared_experts", json!(file.opt("expert_shared_count").unwrap_or(1)));
        let shared = file.opt("expert_shared_feed_forward_length");
        keys.set("moe_shared_expert_intermediate_size", json!(shared));
        keys.set("moe_latent_size", json!(file.opt("moe_latent_size").filter(|n| *n > 0)));
        keys.set("n_group", json!(file.opt("expert_group_count").unwrap_or(1).max(1)));
        keys.set("topk_group", json!(file.opt("expert_group_used_count").unwrap_or(1).max(1)));
        keys.set("norm_topk_prob", json!(true));
        let scale = file.decimal("expert_weights_scale").unwrap_or(1.0);
        keys.set("routed_scaling_factor", json!(scale));
    }
    Ok("nemotron_h")
}

pub(super) fn mamba(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("intermediate_size", json!(file.need("ssm.inner_size")?));
    keys.set("state_size", json!(file.need("ssm.state_size")?));
    keys.set("conv_kernel", json!(file.need("ssm.conv_kernel")?));
    keys.set("time_step_rank", json!(file.need("ssm.time_step_rank")?));
    keys.set("use_conv_bias", json!(file.has_tensor("blk.0.ssm_conv1d.bias")));
    keys.set("use_bias", json!(file.has_tensor("blk.0.ssm_in.bias")));
    let norms = file.info.metadata.get(&format!("{}.ssm.dt_b_c_rms", file.architecture()));
    let norms = matches!(norms, Some(super::super::values::GgufValue::Bool(true)));
    keys.set("use_bcdt_rms", json!(norms));
    Ok("mamba")
}

pub(super) fn mamba2(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    let m = mamba2_sizes(file)?;
    keys.set("intermediate_size", json!(m.heads * m.head));
    keys.set("num_heads", json!(m.heads));
    keys.set("head_dim", json!(m.head));
    keys.set("state_size", json!(m.state));
    keys.set("n_groups", json!(m.groups));
    keys.set("conv_kernel", json!(m.kernel));
    keys.set("use_conv_bias", json!(file.has_tensor("blk.0.ssm_conv1d.bias")));
    keys.set("use_bias", json!(file.has_tensor("blk.0.ssm_in.bias")));
    keys.set("layer_norm_epsilon", json!(file.rms_epsilon()));
    // llama.cpp limits no time steps.
    keys.set("time_step_limit", json!([0.0, f64::MAX]));
    Ok("mamba2")
}

pub(super) fn falcon_h1(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    let m = mamba_keys(file, keys, 0)?;
    keys.set("mamba_d_ssm", json!(m.heads * m.head));
    keys.set("mamba_rms_norm", json!(file.has_tensor("blk.0.ssm_norm.weight")));
    keys.set("mamba_norm_before_gate", json!(false));
    Ok("falcon_h1")
}

pub(super) fn jamba(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    let attention = attention_layers(file)?;
    let layers = file.layers()?;
    let kind = |i| if attention.contains(&i) { "attention" } else { "mamba" };
    keys.set("layers_block_type", json!((0..layers).map(kind).collect::<Vec<_>>()));
    keys.set("attn_layer_period", json!(8));
    keys.set("attn_layer_offset", json!(attention.first().copied().unwrap_or(4)));
    keys.set("mamba_d_state", json!(file.need("ssm.state_size")?));
    keys.set("mamba_d_conv", json!(file.need("ssm.conv_kernel")?));
    keys.set("mamba_dt_rank", json!(file.need("ssm.time_step_rank")?));
    let width = file.need("embedding_length")?.max(1);
    keys.set("mamba_expand", json!(file.need("ssm.inner_size")? / width));
    let is_routed = |i: &u64| file.has_tensor(&format!("blk.{i}.ffn_gate_inp.weight"));
    let routed: Vec<u64> = (0..layers).filter(is_routed).collect();
    let period = routed.iter().zip(routed.iter().skip(1)).map(|(a, b)| b - a).next();
    keys.set("num_experts", json!(expert_count(file).unwrap_or(1)));
    keys.set("num_experts_per_tok", json!(file.opt("expert_used_count").unwrap_or(1)));
    keys.set("expert_layer_period", json!(period.unwrap_or(2)));
    keys.set("expert_layer_offset", json!(routed.first().copied().unwrap_or(1)));
    Ok("jamba")
}

pub(super) fn rwkv7(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    keys.set("head_dim", json!(file.need("wkv.head_size")?));
    for (key, own) in [
        ("a_low_rank_dim", "attention.iclr_lora_rank"),
        ("decay_low_rank_dim", "attention.decay_lora_rank"),
        ("gate_low_rank_dim", "attention.gate_lora_rank"),
        ("v_low_rank_dim", "attention.value_residual_mix_lora_rank"),
    ] {
        keys.set(key, json!(file.need(own)?));
    }
    keys.set("norm_eps", json!(file.decimal("attention.layer_norm_epsilon").unwrap_or(1e-5)));
    Ok("rwkv7")
}

pub(super) fn kimi_linear(file: &GgufMetadata<'_>, keys: &mut Keys<'_>) -> Mapped {
    latent(file, keys)?;
    let attention = attention_layers(file)?;
    let layers = file.layers()?;
    let heads = file.widest("attention.head_count")?;
    let one_based = |wanted: bool| -> Vec<u64> {
        (0..layers).filter(|i| attention.contains(i) == wanted).map(|i| i + 1).collect()
    };
    let linear = json!({
        "full_attn_layers": one_based(true),
        "kda_layers": one_based(false),
        "head_dim": file.need("kda.head_dim")?,
        "num_heads": heads,
        "short_conv_kernel_size": file.need("ssm.conv_kernel")?,
    });
    keys.set("linear_attn_config", linear);
    keys.set("num_experts", json!(file.need("expert_count")?));
    keys.set("num_experts_per_token", json!(file.need("expert_used_count")?));
    keys.set("num_shared_experts", json!(file.opt("expert_shared_count").unwrap_or(1)));
    keys.set("num_expert_group", json!(file.opt("expert_group_count").unwrap_or(1).max(1)));
    keys.set("moe_renormalize", json!(true));
    keys.set("mla_use_nope", json!(true));
    keys.set("q_lora_rank", Value::Null);
    let width = file.need("embedding_length")?;
    keys.set("head_dim", json!(width / heads.max(1)));
    keys.set("model_max_length", json!(file.info.context_length()));
    Ok("kimi_linear")
}
