//! OLMoE: norms over the whole query and key projections, softmax-routed experts in every layer.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline::read(c, c.bool_or("tie_word_embeddings", true)?)?;
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: kv_heads(c, query)?, dim: head_dim(c, o.width, query)? };
    let hidden = c.positive("intermediate_size")?;
    let experts = experts(c, "num_experts", "num_experts_per_tok")?;
    let normalized = c.bool_or("norm_topk_prob", false)?;
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let rope = RopeModule::read(c, heads.dim, 10_000.0, o.max_context)?;
    let decoder = o.decoder(p, |p, _| {
        let rope = Some(rope.clone());
        let attention = Attention::new(p, "self_attn", o.width, heads, biases, rope);
        let attention = attention.with_usual_norms(p, NormPlace::Projection, o.eps);
        let moe = p.scope("mlp", |p| {
            let gate = Gate::Linear(Linear::new(p, "gate", o.width, experts.total, false));
            let router =
                SoftmaxRouter { normalize: normalized, ..SoftmaxRouter::new(gate, experts.chosen) };
            let mlp = SwitchGlu::new(p, "switch_mlp", o.width, hidden, experts.total, mlp_bias);
            RoutedMlp::new(router, mlp).combined(Combine::Wide).flat()
        });
        Ok((MaskRule::Full, Sandwich::pre_norm(p, o.width, o.eps, attention, moe)))
    })?;
    Ok(decoder.with_experts(experts).built())
}
