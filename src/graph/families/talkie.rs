//! Talkie: norms without weights, gains on heads, halves of a layer and logits, the embedding added again in every
//! layer, a head that is never packed.

use crate::graph::parts::prelude::*;

const DEFAULTS: [(&str, u64); 7] = [
    ("hidden_size", 5120),
    ("num_hidden_layers", 40),
    ("num_attention_heads", 40),
    ("head_dim", 128),
    ("intermediate_size", 13_696),
    ("vocab_size", 65_540),
    ("max_position_embeddings", 2048),
];

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_sizes(&DEFAULTS);
    let d = Dims::read(c)?;
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: query, dim: c.positive("head_dim")? };
    let eps = c.number_or("rms_norm_eps", f64::from(f32::EPSILON))?;
    let norm = UnitNorm::new(eps);
    let base = c.number_or("rope_theta", 1_000_000.0)?;
    let dims = u32::try_from(heads.dim).unwrap_or(0);
    let table = FrequencyTable::Plain { dims, base, negative: true };
    let rope = RopeModule::with_table(heads.dim, table);
    let names = Names { embed: "embed", layers: "blocks", ..Names::LLAMA };
    let o = Outline { norm: NormKind::Unit, names, ..d.outline(HeadKind::Tied, eps) };
    let mut decoder = o.sharing(
        p,
        |p, _| {
            let attention = p.scope("attn", |p| attention(p, d.width, heads, rope.clone(), norm));
            let attention_gain = p.raw("attn_gain.a_g", &[1]);
            let mlp = p.scope("mlp", |p| {
                let names = ["mlp_gate", "mlp_linear", "mlp_resid"];
                GatedMlp::named(p, names, d.width, d.hidden, false)
                    .with_activation(activations::silu_gate)
            });
            let mlp_gain = p.raw("mlp_gain.a_g", &[1]);
            let halves = Sandwich::with_norms(norm, attention, norm, mlp)
                .with_residuals(Residual::Gained(attention_gain), Residual::Gained(mlp_gain));
            let embedding_gain = p.raw("embed_skip.a_g", &[1]);
            Ok(Place::new(MaskRule::Full, TalkieLayer { halves, embedding_gain }))
        },
        move |call| {
            let embedding = norm.forward(call.embedded);
            (embedding, embedding)
        },
    )?;
    decoder.head = Head::Raw(p.raw("lm_head", &[d.vocabulary, d.width]));
    let gain = p.raw("lm_head_gain.w_g", &[1]);
    Ok(decoder.with_logits(move |logits| logits * logits.tape().weight(gain)).built())
}

fn attention(
    p: &mut ParamBuilder,
    width: u64,
    heads: Heads,
    rope: RopeModule,
    norm: UnitNorm,
) -> Attention {
    let names = ["attn_query", "attn_key", "attn_value"];
    let qkv = Projections::separate(p, names, width, heads, false);
    let o = Linear::new(p, "attn_resid", heads.query * heads.dim, width, false);
    let query = GainNorm { norm, gain: p.raw("head_gain.head_g", &[heads.query]) };
    Attention::of(qkv, o, heads, Some(rope)).with_norms(query, norm, NormPlace::Rotated)
}

/// A norm without weight, then a gain per head.
struct GainNorm {
    norm: UnitNorm,
    gain: ModuleId,
}

impl Norm for GainNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        self.norm.forward(x) * x.tape().weight(self.gain).reshape(&[1, -1, 1, 1])
    }
}

/// A layer that adds the embedding, which all layers share, once more.
struct TalkieLayer {
    halves: Sandwich,
    embedding_gain: ModuleId,
}

impl Layer<Var<'static>> for TalkieLayer {
    fn run<'t>(&self, x: Var<'t>, at: At<'_, 't, Var<'static>>) -> Var<'t> {
        let h = self.halves.forward(x, at.mask, at.cache);
        Residual::Gained(self.embedding_gain).add(h, *at.shared)
    }
}
