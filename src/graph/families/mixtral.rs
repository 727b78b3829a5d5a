//! Mixtral: Llama's block with softmax over the chosen experts only.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
        ..Outline::read_or(c, [4096, 32, 32_000])?
    };
    let query = c.dim_or("num_attention_heads", 32)?;
    let kv = if c.has("num_key_value_heads") { kv_heads(c, query)? } else { 8 };
    let heads = Heads { query, kv, dim: o.width / query.max(1) };
    let hidden = c.dim_or("intermediate_size", 14_336)?;
    let experts = experts_or(c, ("num_local_experts", 8), ("num_experts_per_tok", 2))?;
    let theta = c.number_or("rope_theta", 1e6)?;
    let rope = RopeModule::plain(heads.dim, c.bool_or("rope_traditional", false)?, theta);
    let decoder = o.decoder(p, |p, _| {
        let rope = Some(rope.clone());
        let attention = Attention::new(p, "self_attn", o.width, heads, Biases::default(), rope);
        let moe = p.scope("block_sparse_moe", |p| {
            let gate = Linear::new(p, "gate", o.width, experts.total, false);
            let experts_mlp =
                SwitchGlu::new(p, "switch_mlp", o.width, hidden, experts.total, false);
            let router = LogitRouter::new(gate, experts.chosen, Order::Descending);
            RoutedMlp::new(router, experts_mlp)
        });
        Ok((MaskRule::Full, Sandwich::pre_norm(p, o.width, o.eps, attention, moe)))
    })?;
    Ok(decoder.with_experts(experts).built())
}
