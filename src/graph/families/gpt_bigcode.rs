//! GPT-BigCode (StarCoder, SantaCoder): GPT-2 with one key and value head.

use super::gpt2::Sizes;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let s = Sizes::read(c)?;
    let kv = if c.bool_or("multi_query", true)? { 1 } else { s.heads };
    let heads = Heads { query: s.heads, kv, dim: s.width / s.heads };
    if heads.query * heads.dim != s.width {
        return Err(c.invalid("n_head", "a divisor of n_embd"));
    }
    let hidden = c.positive("n_inner")?;
    let bias = c.bool_or("attention_bias", true)?;
    let mlp_bias = c.bool_or("mlp_bias", true)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", true)?);
    let o = s.outline(c, Names::GPT, head)?;
    let norm = |p: &mut ParamBuilder, name: &str| s.norm(p, name);
    let mut decoder = o.layered(p, &o.full(), |p, _| {
        let attention = p.scope("attn", |p| {
            let qkv = Projections::fused(p, "c_attn", s.width, heads, bias);
            Attention::of(qkv, Linear::new(p, "c_proj", s.width, s.width, bias), heads, None)
        });
        let mlp = p.scope("mlp", |p| {
            let names = ["c_fc", "c_proj"];
            PlainMlp::new(p, names, s.width, hidden, mlp_bias, activations::gelu)
        });
        Sandwich::with_norms(norm(p, "ln_1"), attention, norm(p, "ln_2"), mlp)
    });
    let table = p.scope("transformer", |p| Embedding::new(p, "wpe", s.max_context, s.width));
    decoder.start = Box::new(move |call| {
        let first = i64::from(call.offset());
        let positions = (first..first + i64::from(call.tokens.dim(1))).collect();
        let rows = table.forward(call.embedded.tape().integers(positions, DType::I64));
        (call.embedded + rows, ())
    });
    Ok(decoder.built())
}
