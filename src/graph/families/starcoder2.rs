//! StarCoder 2: layer norms, biases everywhere, an ungated MLP.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let vocabulary = c.dim_or("vocab_size", 49_152)?;
    let d = Dims::read(&c.clone().with("vocab_size", vocabulary))?;
    let heads = d.heads(c)?;
    let eps = c.number_or("norm_epsilon", 1e-5)?;
    let rope = RopeModule::plain(heads.dim, false, c.number_or("rope_theta", 100_000.0)?);
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", true)?);
    let norm = |p: &mut ParamBuilder, name: &str| LayerNorm::new(p, name, d.width, eps, true);
    let decoder = d.outline(head, eps).with_norm(NormKind::LAYER).layered(p, &d.full(), |p, _| {
        let (biases, rope) = (Biases::all(true), Some(rope.clone()));
        Sandwich::with_norms(
            norm(p, "input_layernorm"),
            Attention::new(p, "self_attn", d.width, heads, biases, rope),
            norm(p, "post_attention_layernorm"),
            p.scope("mlp", |p| {
                let names = ["c_fc", "c_proj"];
                PlainMlp::new(p, names, d.width, d.hidden, true, activations::gelu)
            }),
        )
    });
    Ok(decoder.built())
}
