//! Lille 130M: Llama's block with the norms inside attention and MLP, and one matrix for queries, keys and values.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let width = c.positive("n_embd")?;
    let query = c.positive("n_head")?;
    let heads = Heads { query, kv: c.positive("n_kv_heads")?, dim: width / query };
    let vocabulary = c.positive("vocab_size")?;
    let eps = c.number_or("layer_norm_eps", 1e-5)?;
    let rope = RopeModule::plain(heads.dim, true, c.number_or("rope_theta", 10_000.0)?);
    // 256 times Python's round(), which rounds halves to even.
    let hidden = 256 * ((8 * width / 3) as f64 / 256.0).round_ties_even() as u64;
    let names = Names { model: "transformer", embed: "tok_embeddings", ..Names::LLAMA };
    let o = Outline {
        head: HeadKind::Tied,
        eps,
        max_context: c.opt_dim("block_size")?,
        names,
        ..Outline::new(width, layer_count_at(c, "n_layer")?, vocabulary)
    };
    let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, width, eps);
    let decoder = o.layered(p, &o.full(), |p, _| {
        let attention = p.scope("attention", |p| {
            let qkv = Projections::fused(p, "qkv_proj", width, heads, false);
            let out = Linear::new(p, "out_proj", heads.query * heads.dim, width, false);
            Attention::of(qkv, out, heads, Some(rope.clone()))
        });
        let mlp = GatedMlp::up_first(p, "feed_forward", width, hidden, false);
        let (first, second) = (norm(p, "attention.norm"), norm(p, "feed_forward.norm"));
        Sandwich::with_norms(first, attention, second, mlp)
    });
    Ok(decoder.built())
}
