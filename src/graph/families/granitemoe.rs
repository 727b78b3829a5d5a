//! Granite MoE: scaled embedding, residuals, attention and logits; softmax over the chosen experts in float32.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline::read(c, c.bool_or("tie_word_embeddings", true)?)?;
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: c.positive("num_key_value_heads")?, dim: o.width / query };
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let hidden = c.positive("intermediate_size")?;
    let experts = experts(c, "num_local_experts", "num_experts_per_tok")?;
    let scale = c.number_or("attention_multiplier", 1.0)?;
    let residual = c.number_or("residual_multiplier", 1.0)?;
    let embedding = c.number_or("embedding_multiplier", 1.0)?;
    let logits = c.number_or("logits_scaling", 1.0)?;
    let rope = RopeModule::read_as(c, heads.dim, 10_000.0, false, o.max_context)?;
    let mut decoder = o.decoder(p, |p, _| {
        let rope = Some(rope.clone());
        let attention =
            Attention::new(p, "self_attn", o.width, heads, biases, rope).with_scale(scale);
        let moe = p.scope("block_sparse_moe", |p| {
            let mlp = SwitchGlu::new(p, "switch_mlp", o.width, hidden, experts.total, false);
            let gate = Linear::new(p, "router.layer", o.width, experts.total, false);
            let router = LogitRouter::new(gate, experts.chosen, Order::Ascending);
            RoutedMlp::new(LogitRouter { wide: true, ..router }, mlp)
        });
        let block = Sandwich::pre_norm(p, o.width, o.eps, attention, moe);
        Ok((MaskRule::Full, block.with_residual_scale(residual)))
    })?;
    decoder = decoder.with_embedding(move |h| h * embedding);
    decoder.on_logits = Some(Box::new(move |x| x / logits));
    let eight = &["block_sparse_moe.router.layer", "self_attn.o_proj", "mlp.down_proj", "lm_head"];
    Ok(decoder.with_packing(QuantOverride::EightBit, eight).with_experts(experts).built())
}
