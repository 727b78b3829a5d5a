//! Klear: Qwen3 attention, sigmoid-routed experts blended with shared experts by a learnt pair of coefficients.

use super::qwen3_moe::{ROUTERS, Routed};
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    c.require(&["mlp_only_layers"])?;
    let o = Outline::read(c, false)?;
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: c.positive("num_key_value_heads")?, dim: o.width / query };
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let rope = RopeModule::plain(heads.dim, false, c.number_or("rope_theta", 10_000.0)?);
    let hidden = c.positive("intermediate_size")?;
    let expert_hidden = c.positive("moe_intermediate_size")?;
    let shared = c.positive("n_shared_experts")? * expert_hidden;
    let experts = experts(c, "num_experts", "num_experts_per_tok")?;
    let routed = Routed::read(c, experts.total)?;
    let divisor = Divisor::sum(c.bool("norm_topk_prob")?);
    let decoder = o.decoder(p, |p, i| {
        let rope = Some(rope.clone());
        let attention = Attention::new(p, "self_attn", o.width, heads, biases, rope);
        let attention = attention.with_usual_norms(p, NormPlace::Rows, o.eps);
        let mlp: Box<dyn FeedForward> = if routed.at(i) {
            Box::new(Blend::new(p, o.width, expert_hidden, shared, experts, divisor))
        } else {
            Box::new(GatedMlp::new(p, "mlp", o.width, hidden, false))
        };
        Ok((MaskRule::Full, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
    })?;
    Ok(decoder.with_packing(QuantOverride::EightBit, ROUTERS).with_experts(experts).built())
}

struct Blend {
    gate: Linear,
    experts: SwitchGlu,
    shared: GatedMlp,
    coefficient: Linear,
    bias: ModuleId,
    chosen: u64,
    divisor: Divisor,
}

impl Blend {
    fn new(
        p: &mut ParamBuilder,
        width: u64,
        hidden: u64,
        shared: u64,
        experts: Experts,
        divisor: Divisor,
    ) -> Self {
        p.scope("mlp", |p| Self {
            gate: Linear::new(p, "gate", width, experts.total, false),
            experts: SwitchGlu::new(p, "experts", width, hidden, experts.total, false),
            shared: GatedMlp::new(p, "shared_experts", width, shared, false),
            coefficient: Linear::new(p, "coefficient", width, 2, true),
            bias: p.raw_f32("expert_bias", &[experts.total]),
            chosen: experts.chosen,
            divisor,
        })
    }
}

impl FeedForward for Blend {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let weights = self.gate.forward(x).astype(DType::F32).sigmoid();
        let ranked = weights + x.tape().weight(self.bias).reshape(&[1, 1, -1]);
        let indices = best(ranked, self.chosen, Order::Descending);
        let scores = self.divisor.apply(weights.take_along_axis(indices, -1)).astype(x.dtype());
        let y = weighted_sum(self.experts.forward(x, indices, activations::swiglu), scores);
        let coefficients = self.coefficient.forward(x).softmax(true);
        let shared = self.shared.apply(x);
        y * coefficients.slice(-1, 0, 1) + shared * coefficients.slice(-1, 1, 2)
    }
}
