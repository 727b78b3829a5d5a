//! Qwen 1 (`qwen`): one matrix for queries, keys and values, attention as wide as `kv_channels` times the heads.

use crate::graph::parts::prelude::*;

const DEFAULTS: [(&str, u64); 7] = [
    ("hidden_size", 2048),
    ("num_attention_heads", 16),
    ("num_hidden_layers", 24),
    ("kv_channels", 128),
    ("max_position_embeddings", 8192),
    ("intermediate_size", 11_008),
    ("vocab_size", 151_936),
];

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_sizes(&DEFAULTS);
    let d = Dims::read(c)?;
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: query, dim: c.positive("kv_channels")? };
    let eps = c.number_or("layer_norm_epsilon", 1e-6)?;
    let bias = !c.bool_or("no_bias", true)?;
    let per_head = d.width / query;
    let rope = RopeModule::plain(per_head, false, 10_000.0);
    let head = if bias { HeadKind::OwnWithBias } else { HeadKind::Own };
    let o = Outline { names: Names::GPT, ..d.outline(head, eps) };
    let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, d.width, eps);
    let decoder = o.layered(p, &d.full(), |p, _| {
        let attention = p.scope("attn", |p| {
            let qkv = Projections::fused(p, "c_attn", d.width, heads, true);
            let o = Linear::new(p, "c_proj", d.width, heads.query * heads.dim, bias);
            Attention::of(qkv, o, heads, Some(rope.clone()))
                .with_scale((per_head as f64).powf(-0.5))
        });
        let mlp = p.scope("mlp", |p| {
            GatedMlp::named(p, ["w2", "w1", "c_proj"], d.width, d.hidden / 2, bias)
        });
        let norms = [Norms::before(norm(p, "ln_1")), Norms::before(norm(p, "ln_2"))];
        let [first, second] = norms;
        Sandwich::new(attention, first, mlp, second)
            .with_residuals(Residual::Swapped, Residual::Swapped)
    });
    Ok(decoder.built())
}
