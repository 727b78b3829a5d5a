//! OLMoE: norms over the whole query and key projections, softmax-routed experts in every layer.

use super::qwen2_moe::SoftmaxRouter;
use crate::graph::parts::moe::normalise;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline::read(c, c.bool_or("tie_word_embeddings", true)?)?;
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: kv_heads(c, query)?, dim: head_dim(c, o.width, query)? };
    let hidden = c.positive("intermediate_size")?;
    let experts = experts(c, "num_experts", "num_experts_per_tok")?;
    let normalised = c.bool_or("norm_topk_prob", false)?;
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let rope = RopeModule::new(
        heads.dim,
        c.number_or("rope_theta", 10_000.0)?,
        c.bool_or("rope_traditional", false)?,
        RopeScaling::read(c, "rope_scaling")?.as_ref(),
        o.max_context,
    )?;
    let decoder = o.decoder(p, |p, _| {
        let rope = Some(rope.clone());
        let attention = Attention::new(p, "self_attn", o.width, heads, biases, rope);
        let (q_norm, k_norm) = p.scope("self_attn", |p| {
            let q_norm = RmsNorm::new(p, "q_norm", heads.query * heads.dim, o.eps);
            (q_norm, RmsNorm::new(p, "k_norm", heads.kv * heads.dim, o.eps))
        });
        let attention = attention.with_norms(q_norm, k_norm, NormPlace::Projection);
        let moe = p.scope("mlp", |p| FlatMoe {
            router: SoftmaxRouter {
                gate: Gate::Linear(Linear::new(p, "gate", o.width, experts.total, false)),
                chosen: experts.chosen,
            },
            experts: SwitchGlu::new(p, "switch_mlp", o.width, hidden, experts.total, mlp_bias),
            normalised,
        });
        Ok((MaskRule::Full, Sandwich::pre_norm(p, o.width, o.eps, attention, moe)))
    })?;
    Ok(decoder.with_experts(experts).built())
}

/// Routing over the tokens of all sequences in one row.
struct FlatMoe {
    router: SoftmaxRouter,
    experts: SwitchGlu,
    normalised: bool,
}

impl FeedForward for FlatMoe {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        let dims: Vec<i64> = t.shape(x).dims().iter().map(|&n| i64::from(n)).collect();
        let flat = t.reshape(x, &[-1, i64::from(t.dim(x, -1))]);
        let (indices, mut scores) = self.router.route(t, flat);
        if self.normalised {
            scores = normalise(t, scores);
        }
        let y = self.experts.forward(t, flat, indices, activations::swiglu);
        t.reshape(weighted_sum(t, y, scores), &dims)
    }
}
