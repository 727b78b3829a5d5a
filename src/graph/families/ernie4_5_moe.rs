//! ERNIE 4.5 MoE: traditional rotation, routed layers between a first and a last index, shared experts.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline::read(c, c.bool("tie_word_embeddings")?)?;
    let heads = Heads::sized(c, o.width)?;
    let rope = RopeModule::plain(heads.dim, true, c.number_or("rope_theta", 10_000.0)?);
    let bias = c.bool_or("use_bias", false)?;
    let hidden = c.positive("intermediate_size")?;
    let expert_hidden = match c.dim_or("moe_intermediate_size", 0)? {
        0 => hidden,
        n => n,
    };
    let c = &c.clone().with("moe_k", c.dim_or("moe_k", 1)?);
    let experts = experts(c, "moe_num_experts", "moe_k")?;
    let shared = Some(c.dim_or("moe_num_shared_experts", 0)?).filter(|&n| n > 0);
    let first = bound(c, "moe_layer_start_index", Iterator::min)?.unwrap_or(0);
    let last = bound(c, "moe_layer_end_index", Iterator::max)?.unwrap_or(o.layers - 1);
    let interval = c.positive_or("moe_layer_interval", 1)?;
    let routing = ScoreRouting::new(experts.chosen).divided(Divisor::SumAtLeast(1e-12));
    let routing = match c.opt_str("moe_gate_act")?.unwrap_or("softmax") {
        "softmax" => routing.softmax(),
        "sigmoid" => routing,
        _ => return Err(c.invalid("moe_gate_act", "'softmax' or 'sigmoid'")),
    };
    let decoder = o.decoder(p, |p, i| {
        let rope = Some(rope.clone());
        let biases = Biases::all(bias);
        let attention = Attention::new(p, "self_attn", o.width, heads, biases, rope);
        let routed = (i + 1) % interval == 0 && i >= first && i <= last;
        let mlp: Box<dyn FeedForward> = if routed {
            Box::new(p.scope("mlp", |p| {
                let gate = Gate::Linear(Linear::new(p, "gate", o.width, experts.total, false));
                let mlp =
                    SwitchGlu::new(p, "switch_mlp", o.width, expert_hidden, experts.total, bias);
                let shared = shared
                    .map(|n| GatedMlp::new(p, "shared_experts", o.width, n * expert_hidden, bias));
                RoutedMlp::new(ScoreRouter::new(gate, None, routing), mlp).with_shared(shared)
            }))
        } else {
            Box::new(GatedMlp::new(p, "mlp", o.width, hidden, bias))
        };
        Ok((MaskRule::Full, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
    })?;
    Ok(decoder.with_experts(experts).built())
}

/// A layer index, or the outermost of a list of them.
fn bound(
    c: &Config,
    key: &str,
    outermost: fn(std::vec::IntoIter<u64>) -> Option<u64>,
) -> Result<Option<u64>, ConfigError> {
    match c.get(key) {
        Some(serde_json::Value::Array(_)) => {
            Ok(c.opt_dims(key)?.and_then(|list| outermost(list.into_iter())))
        }
        _ => c.opt_dim(key),
    }
}
