//! nanochat: norms without weights, rotation in the other direction and norms behind it, squared ReLU, logits limited
//! with `tanh`.

use crate::graph::parts::prelude::*;

const DEFAULTS: [(&str, u64); 7] = [
    ("hidden_size", 1280),
    ("num_hidden_layers", 20),
    ("num_attention_heads", 10),
    ("num_key_value_heads", 10),
    ("vocab_size", 65_536),
    ("max_position_embeddings", 2048),
    ("intermediate_size", 5120),
];

const NORM: UnitNorm = UnitNorm::new(1e-5);

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_sizes(&DEFAULTS);
    let d = Dims::read(c)?;
    let heads: Heads = d.heads(c)?;
    if heads.query * heads.dim != d.width {
        return Err(c.invalid("hidden_size", "a multiple of num_attention_heads"));
    }
    let base = c.number_or("rope_theta", 10_000.0)?;
    let dims = u32::try_from(heads.dim).unwrap_or(0);
    let table = FrequencyTable::Plain { dims, base, negative: true };
    let rope = RopeModule::with_table(heads.dim, table);
    let o = Outline { names: Names::GPT, norm: NormKind::Unit, ..d.outline(HeadKind::Own, 1e-5) };
    let decoder = o.layered(p, &d.full(), |p, _| {
        let attention = p.scope("attn", |p| {
            let qkv = Projections::separate(p, ["c_q", "c_k", "c_v"], d.width, heads, false);
            let o = Linear::new(p, "c_proj", d.width, d.width, false);
            Attention::of(qkv, o, heads, Some(rope.clone())).with_norms(
                NORM,
                NORM,
                NormPlace::Rotated,
            )
        });
        let mlp = p.scope("mlp", |p| {
            let names = ["c_fc", "c_proj"];
            PlainMlp::new(p, names, d.width, d.hidden, false, activations::relu2)
        });
        Sandwich::with_norms(NORM, attention, NORM, mlp)
    });
    let decoder = decoder
        .with_embedding(|h| NORM.forward(h))
        .with_logits(|logits| activations::softcap(15.0, logits));
    Ok(decoder.built())
}
