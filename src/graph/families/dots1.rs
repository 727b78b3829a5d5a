//! dots.llm1: Qwen3 attention, grouped sigmoid routing whose correction bias is cast with the model.

use super::qwen3;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline::read(c, c.bool_or("tie_word_embeddings", false)?)?;
    let heads = Heads::sized(c, o.width)?;
    let rope = RopeModule::read_as(c, heads.dim, 10_000.0, false, o.max_context)?;
    let hidden = c.positive("intermediate_size")?;
    let bias = c.bool_or("mlp_bias", false)?;
    let first = c.dim("first_k_dense_replace")?;
    let experts = experts(c, "n_routed_experts", "num_experts_per_tok")?;
    let expert_hidden = c.positive("moe_intermediate_size")?;
    let shared = c.positive("n_shared_experts")? * expert_hidden;
    let divide = experts.chosen > 1 && c.bool("norm_topk_prob")?;
    let mut routing = ScoreRouting::new(experts.chosen)
        .divided(Divisor::sum(divide))
        .scaled(c.number_or("routed_scaling_factor", 1.0)?);
    let (groups, kept) = (c.dim_or("n_group", 1)?, c.dim_or("topk_group", 1)?);
    if groups != kept {
        routing = routing.grouped(groups, kept, 0.0);
    }
    let decoder = o.decoder(p, |p, i| {
        let attention = qwen3::attention(p, o.width, heads, o.eps, &rope);
        let mlp: Box<dyn FeedForward> = if i < first {
            Box::new(GatedMlp::up_first(p, "mlp", o.width, hidden, bias))
        } else {
            Box::new(p.scope("mlp", |p| {
                let mlp =
                    SwitchGlu::new(p, "experts", o.width, expert_hidden, experts.total, false);
                let gate = Gate::Raw(p.raw("gate.weight", &[experts.total, o.width]));
                let correction = p.raw("gate.e_score_correction_bias", &[experts.total]);
                let router = ScoreRouter::new(gate, Some(correction), routing).compiled();
                let shared = GatedMlp::up_first(p, "shared_experts", o.width, shared, bias);
                RoutedMlp::new(router, mlp).with_shared(Some(shared))
            }))
        };
        Ok((MaskRule::Full, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
    })?;
    Ok(decoder.with_experts(experts).built())
}
