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
        let (name, out) = ("attn.attention", "out_proj");
        let (biases, rope) = (Biases::all(bias), Some(rope.clone()));
        let attention = Attention::named(p, name, out, d.width, heads, biases, rope);
        let mlp = p.scope("mlp", |p| {
            let names = ["c_fc_0", "c_fc_1", "c_proj"];
            GatedMlp::named(p, names, d.width, d.hidden, mlp_bias)
        });
        Sandwich::with_norms(norm(p, "ln_1"), attention, norm(p, "ln_2"), mlp)
    });
    Ok(decoder.built())
}
