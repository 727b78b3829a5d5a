//! EXAONE 3: Llama's block under other names.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with("num_hidden_layers", c.positive("num_layers")?);
    let d = Dims::read(c)?;
    let heads = d.sized_heads(c)?;
    let eps = c.number_or("layer_norm_epsilon", 1e-5)?;
    let bias = c.bool_or("attention_bias", false)?;
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let rope = RopeModule::read(c, heads.dim, 10_000.0, d.max_context)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", true)?);
    let o = Outline { names: Names::GPT, ..d.outline(head, eps) };
    let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, d.width, eps);
    let decoder = o.layered(p, &d.full(), |p, _| {
        let attention = p.scope("attn.attention", |p| {
            let names = ["q_proj", "k_proj", "v_proj"];
            let qkv = Projections::separate(p, names, d.width, heads, bias);
            let out = Linear::new(p, "out_proj", heads.query * heads.dim, d.width, bias);
            Attention::of(qkv, out, heads, Some(rope.clone()))
        });
        let mlp = p.scope("mlp", |p| {
            let names = ["c_fc_0", "c_fc_1", "c_proj"];
            GatedMlp::named(p, names, d.width, d.hidden, mlp_bias)
        });
        Sandwich::with_norms(norm(p, "ln_1"), attention, norm(p, "ln_2"), mlp)
    });
    Ok(decoder.built())
}
