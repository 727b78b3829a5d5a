//! EXAONE MoE: window layers that rotate and full layers that do not, grouped sigmoid routing.

use super::glm4_moe::GroupMoeSettings;
use crate::graph::parts::prelude::*;
use serde_json::Value;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    c.require(&["layer_types", "is_moe_layer", "num_shared_experts"])?;
    let o = Outline::read(c, c.bool_or("tie_word_embeddings", false)?)?;
    let heads = Heads::read(c)?;
    let types = c.opt_strings("layer_types")?.unwrap_or_default();
    if (types.len() as u64) < o.layers {
        return Err(c.invalid("layer_types", format!("a kind for each of {} layers", o.layers)));
    }
    let sliding = |i: u64| types.get(i as usize).is_some_and(|t| t == "sliding_attention");
    let all_rotate = !types.iter().any(|t| t == "sliding_attention");
    let routed = routed_layers(c, o.layers)?;
    let window = c.positive("sliding_window")? as u32;
    let hidden = c.positive("intermediate_size")?;
    let rope = rope(c, heads.dim, o.max_context)?;
    let moe = moe(c)?;
    let decoder = o.decoder(p, |p, i| {
        let rope = (all_rotate || sliding(i)).then(|| rope.clone());
        let attention = Attention::new(p, "self_attn", o.width, heads, Biases::default(), rope);
        let attention = attention.with_usual_norms(p, NormPlace::Rows, o.eps);
        let mlp: Box<dyn FeedForward> = match &moe {
            Some(moe) if routed.get(i as usize) == Some(&true) => Box::new(moe.layer(p, o.width)),
            _ => Box::new(GatedMlp::up_first(p, "mlp", o.width, hidden, false)),
        };
        let rule = if sliding(i) { MaskRule::Window(window) } else { MaskRule::Full };
        Ok((rule, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
    })?;
    Ok(decoder.with_experts(moe.map(|m| m.experts)).built())
}

/// The settings under the names of DeepSeek-V3.
fn moe(c: &Config) -> Result<Option<GroupMoeSettings>, ConfigError> {
    let shared = c.opt_dim("num_shared_experts")?.filter(|&n| n > 0);
    let renamed = c
        .clone()
        .with("n_routed_experts", c.positive("num_experts")?)
        .with("n_shared_experts", shared)
        .with("routed_scaling_factor", c.number_or("routed_scaling_factor", 2.5)?);
    Ok(GroupMoeSettings::read(&renamed)?.map(|m| m.with_epsilon(1e-20)))
}

fn rope(c: &Config, dim: u64, max: Option<u64>) -> Result<RopeModule, ConfigError> {
    let nested = c.opt_object("rope_parameters")?;
    let theta = match nested.map(|r| r.opt_number("rope_theta")).transpose()?.flatten() {
        Some(theta) => theta,
        None => c.number_or("rope_theta", 1e6)?,
    };
    RopeModule::new(dim, theta, false, RopeScaling::read(c, "rope_scaling")?.as_ref(), max)
}

/// `is_moe_layer`: a flag for each layer.
fn routed_layers(c: &Config, layers: u64) -> Result<Vec<bool>, ConfigError> {
    let list = c.get("is_moe_layer").and_then(Value::as_array);
    let truth = |v: &Value| v.as_bool().or_else(|| v.as_f64().map(|n| n != 0.0));
    let flags: Option<Vec<bool>> =
        list.map_or(&[] as &[Value], Vec::as_slice).iter().map(truth).collect();
    match flags {
        Some(flags) if flags.len() as u64 >= layers => Ok(flags),
        _ => Err(c.invalid("is_moe_layer", format!("a flag for each of {layers} layers"))),
    }
}
