//! gpt-oss: alternating window and full attention with sinks, experts with biases and a clipped SwiGLU.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline::read_or(c, [2880, 36, 201_088])?;
    let heads = Heads::read_or(c, [64, 8, 64])?;
    let hidden = c.dim_or("intermediate_size", 2880)?;
    let experts = experts_or(c, ("num_local_experts", 128), ("num_experts_per_tok", 4))?;
    let rope = RopeModule::read_as(c, heads.dim, 150_000.0, false, None)?;
    let rules = mask_rules(c, o.layers)?;
    let decoder = o.decoder(p, |p, i| {
        let rope = Some(rope.clone());
        let attention = Attention::new(p, "self_attn", o.width, heads, Biases::all(true), rope)
            .with_sinks(p.raw("self_attn.sinks", &[heads.query]));
        let moe = p.scope("mlp", |p| {
            let mlp = SwitchGlu::new(p, "experts", o.width, hidden, experts.total, true);
            let gate = Linear::new(p, "router", o.width, experts.total, true);
            let router = LogitRouter::new(gate, experts.chosen, Order::Ascending);
            RoutedMlp::new(router, mlp)
                .with_activation(|gate, x| activations::swiglu_oai(gate, x, 1.702, 7.0))
        });
        let rule = rules.get(i as usize).copied().unwrap_or(MaskRule::Full);
        Ok((rule, Sandwich::pre_norm(p, o.width, o.eps, attention, moe)))
    })?;
    let decoder = decoder.with_packing(QuantOverride::EightBit, &["router"]);
    Ok(decoder.with_experts(experts).built())
}

/// The masks of the layers; without `layer_types` window and full attention alternate.
fn mask_rules(c: &Config, layers: u64) -> Result<Vec<MaskRule>, ConfigError> {
    let window = MaskRule::Window(c.dim_or("sliding_window", 128)? as u32);
    let rule = |kind: &str| if kind == "full_attention" { MaskRule::Full } else { window };
    let rules: Vec<MaskRule> = match c.opt_strings("layer_types")? {
        Some(types) if !types.is_empty() => types.iter().map(|t| rule(t)).collect(),
        _ => (0..layers / 2).flat_map(|_| [window, MaskRule::Full]).collect(),
    };
    if rules.len() as u64 != layers {
        return Err(c.invalid("layer_types", format!("a kind for each of the {layers} layers")));
    }
    if !rules.contains(&window) || !rules.contains(&MaskRule::Full) {
        return Err(c.invalid("layer_types", "both 'sliding_attention' and 'full_attention'"));
    }
    Ok(rules)
}
