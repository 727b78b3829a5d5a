//! Kimi Linear: Kimi Delta Attention with a layer of latent attention without rotation every few layers, routed
//! experts with shared ones.

use super::deepseek_v3::RoutedLayers;
use crate::graph::parts::kimi_delta::{KimiDelta, KimiDeltaDims};
use crate::graph::parts::kimi_moe::{KimiRouting, Scores, delta_layers, kimi_experts};
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let width = c.positive("hidden_size")?;
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let max = c.opt_dim("model_max_length")?;
    let outline = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
        eps,
        max_context: if max.is_some() { max } else { c.opt_dim("max_position_embeddings")? },
        ..Outline::new(width, layer_count(c)?, c.positive("vocab_size")?)
    };
    let linear = c.object("linear_attn_config")?;
    let delta = KimiDeltaDims::read(&linear, width, Some(4))?;
    let is_delta = delta_layers(&linear, outline.layers)?;
    if !is_delta.contains(&true) || !is_delta.contains(&false) {
        return Err(linear.invalid(
            "kda_layers",
            "some but not all layers, because mlx-lm needs one of each kind",
        ));
    }
    let (dims, latent) = latent_attention(c, width, eps)?;
    let routing = routing(c)?;
    let routed = RoutedLayers::read(c, 0)?;
    let hidden = c.positive("intermediate_size")?;
    let decoder = outline.decoder(p, |p, i| {
        let (rule, mixer): (_, Box<dyn Mixer>) = if is_delta.get(i as usize) == Some(&true) {
            (
                MaskRule::Recurrent(KimiDelta::SEPARATE_STATES),
                Box::new(KimiDelta::separate(p, delta, eps)),
            )
        } else {
            let attention = LatentAttention::with_settings(p, dims, latent.clone());
            (MaskRule::FullArray, Box::new(attention))
        };
        let mlp: Box<dyn FeedForward> = match routing {
            Some(r) if routed.at(i) => Box::new(kimi_experts(p, width, r)),
            _ => Box::new(GatedMlp::up_first(p, "mlp", width, hidden, false)),
        };
        Ok((rule, Sandwich::pre_norm(p, width, eps, mixer, mlp)))
    })?;
    Ok(decoder
        .with_packing(QuantOverride::EightBit, &["mlp.gate"])
        .with_experts(routing.map(|r| r.experts))
        .built())
}

fn latent_attention(
    c: &Config,
    width: u64,
    eps: f64,
) -> Result<(MlaDims, LatentSettings), ConfigError> {
    let head_dim = c.positive("head_dim")?;
    let or_head = |key| Ok(c.opt_dim(key)?.filter(|&n| n > 0).unwrap_or(head_dim));
    let dims = MlaDims {
        width,
        heads: c.positive("num_attention_heads")?,
        q_rank: None,
        kv_rank: c.positive("kv_lora_rank")?,
        nope: or_head("qk_nope_head_dim")?,
        rope: c.dim_or("qk_rope_head_dim", 0)?,
        value: or_head("v_head_dim")?,
    };
    let scale = dims.scale(None)?;
    Ok((dims, LatentSettings { bias: false, eps, rope: None, scale, gated: false }))
}

fn routing(c: &Config) -> Result<Option<KimiRouting>, ConfigError> {
    if c.dim("num_experts")? == 0 {
        return Ok(None);
    }
    let scores = match c.opt_str("moe_router_activation_func")?.unwrap_or("sigmoid") {
        "sigmoid" => Scores::Sigmoid,
        "softmax" => Scores::Softmax,
        _ => return Err(c.invalid("moe_router_activation_func", "'sigmoid' or 'softmax'")),
    };
    let key = "num_experts_per_token";
    let c = &c.clone().with_defaults(&[(key, 1.into())]);
    Ok(Some(KimiRouting::read(c, experts(c, "num_experts", key)?, scores)?))
}
