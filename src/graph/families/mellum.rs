//! Mellum 2: Qwen3 MoE with window and full layers, each kind with its own rotation.

use super::qwen3;
use super::qwen3_moe::ROUTERS;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    c.require(&["layer_types"])?;
    let o = Outline::read(c, c.bool("tie_word_embeddings")?)?;
    let types = c.opt_strings("layer_types")?.unwrap_or_default();
    if types.len() as u64 != o.layers || !types.iter().any(|t| t == "full_attention") {
        let expected = format!("a kind for each of {} layers, one 'full_attention'", o.layers);
        return Err(c.invalid("layer_types", expected));
    }
    let heads = Heads::read(c)?;
    c.positive("intermediate_size")?;
    let hidden = c.positive("moe_intermediate_size")?;
    let window = c.positive("sliding_window")? as u32;
    let experts = experts(c, "num_experts", "num_experts_per_tok")?;
    let normalize = c.bool("norm_topk_prob")?;
    let decoder = o.decoder(p, |p, i| {
        let kind = types.get(i as usize).map_or("full_attention", String::as_str);
        let rope = rope(c, kind, heads.dim)?;
        let attention = qwen3::attention(p, o.width, heads, o.eps, &rope);
        let moe = softmax_experts(p, "mlp", o.width, hidden, experts, normalize);
        let full = kind == "full_attention";
        let rule = if full { MaskRule::Full } else { MaskRule::Window(window) };
        Ok((rule, Sandwich::pre_norm(p, o.width, o.eps, attention, moe)))
    })?;
    Ok(decoder.with_packing(QuantOverride::EightBit, ROUTERS).with_experts(experts).built())
}

/// The rotation of a kind of layer, under `rope_parameters`.
fn rope(c: &Config, kind: &str, dim: u64) -> Result<RopeModule, ConfigError> {
    let parameters = c.object("rope_parameters")?;
    let Some(scaling) = RopeScaling::read(&parameters, kind)? else {
        return Err(c.invalid("rope_parameters", format!("an object for '{kind}'")));
    };
    let theta = scaling.values().number_or("rope_theta", 10_000.0)?;
    match scaling.values().opt_str("rope_type")?.unwrap_or("default") {
        "default" | "linear" => Ok(RopeModule::plain(dim, false, theta)),
        _ => RopeModule::new(
            dim,
            theta,
            false,
            Some(&scaling),
            c.opt_dim("max_position_embeddings")?,
        ),
    }
}
