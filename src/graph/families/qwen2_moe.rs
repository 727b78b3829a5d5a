//! Qwen2 MoE: every layer has softmax-routed experts and a shared expert with a gate of its own.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline::read(c, false)?; // mlx-lm has its own head even when the configuration ties it
    check_rope_scaling(c)?;
    c.positive("intermediate_size")?;
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: kv_heads(c, query)?, dim: o.width / query };
    let hidden = c.positive("moe_intermediate_size")?;
    let shared = c.positive("shared_expert_intermediate_size")?;
    let experts = experts(c, "num_experts", "num_experts_per_tok")?;
    let theta = c.number_or("rope_theta", 1e6)?;
    let rope = RopeModule::plain(heads.dim, c.bool_or("rope_traditional", false)?, theta);
    let biases = Biases { qkv: true, output: false };
    let decoder = o.decoder(p, |p, _| {
        let rope = Some(rope.clone());
        let attention = Attention::new(p, "self_attn", o.width, heads, biases, rope);
        let moe = p.scope("mlp", |p| {
            let gate = Gate::Linear(Linear::new(p, "gate", o.width, experts.total, false));
            let mlp = SwitchGlu::new(p, "switch_mlp", o.width, hidden, experts.total, false);
            let routed = RoutedMlp::new(SoftmaxRouter::new(gate, experts.chosen), mlp);
            with_gated_shared(p, routed, o.width, shared)
        });
        Ok((MaskRule::Full, Sandwich::pre_norm(p, o.width, o.eps, attention, moe)))
    })?;
    Ok(decoder.with_experts(experts).built())
}

/// mlx-lm accepts linear scaling only, and then does not use it.
fn check_rope_scaling(c: &Config) -> Result<(), ConfigError> {
    let Some(scaling) = c.opt_object("rope_scaling")? else {
        return Ok(());
    };
    let linear = scaling.has("factor") && scaling.opt_str("type")? == Some("linear");
    if linear || scaling.values().is_empty() {
        return Ok(());
    }
    Err(c.invalid("rope_scaling", "null or the type 'linear' with a factor"))
}
