//! MiniMax M2 and later: norms over the whole query and key projections, partial rotation, sigmoid routing in every
//! layer with the router in float32.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    c.require(&["shared_intermediate_size"])?;
    let o = Outline::read(c, c.bool_or("tie_word_embeddings", false)?)?;
    let heads = Heads::sized(c, o.width)?;
    let rotated = c.positive("rotary_dim")?;
    let rope = RopeModule::plain(rotated, false, c.number_or("rope_theta", 10_000.0)?);
    let hidden = c.positive("intermediate_size")?;
    let experts = experts(c, "num_local_experts", "num_experts_per_tok")?;
    let norms = c.bool_or("use_qk_norm", true)?;
    let routing = ScoreRouting::new(experts.chosen).divided(Divisor::SumPlus(1e-20));
    let decoder = o.decoder(p, |p, _| {
        let rope = Some(rope.clone());
        let biases = Biases::default();
        let mut attention = Attention::new(p, "self_attn", o.width, heads, biases, rope);
        if norms {
            attention = attention.with_usual_norms(p, NormPlace::Projection, o.eps);
        }
        let moe = p.scope("block_sparse_moe", |p| {
            let gate = Gate::Linear(Linear::new(p, "gate", o.width, experts.total, false));
            let mlp = SwitchGlu::new(p, "switch_mlp", o.width, hidden, experts.total, false);
            let bias = p.raw_f32("e_score_correction_bias", &[experts.total]);
            let router =
                ScoreRouter::new(gate, Some(bias), routing).with_wide_input().with_narrow_scores();
            RoutedMlp::new(router, mlp)
        });
        Ok((MaskRule::Full, Sandwich::pre_norm(p, o.width, o.eps, attention, moe)))
    })?;
    Ok(decoder
        .with_packing(QuantOverride::EightBit, &["block_sparse_moe.gate"])
        .with_experts(experts)
        .built())
}
