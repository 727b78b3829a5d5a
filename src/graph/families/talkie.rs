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
    let norm = UnitNorm::new(c.number_or("rms_norm_eps", f64::from(f32::EPSILON))?);
    let base = c.number_or("rope_theta", 1_000_000.0)?;
    let dims = u32::try_from(heads.dim).unwrap_or(0);
    let table = FrequencyTable::Plain { dims, base, negative: true };
    let rope = RopeModule::with_table(heads.dim, table);
    let (embed, layers) = p.scope("model", |p| {
        let embed = Embedding::new(p, "embed", d.vocabulary, d.width);
        let layers = (0..d.layers).map(|i| {
            p.scope(&format!("blocks.{i}"), |p| Layer {
                attention: p.scope("attn", |p| attention(p, d.width, heads, rope.clone(), norm)),
                attention_gain: p.raw("attn_gain.a_g", &[1]),
                mlp: p.scope("mlp", |p| {
                    let names = ["mlp_gate", "mlp_linear", "mlp_resid"];
                    GatedMlp::named(p, names, d.width, d.hidden, false)
                        .with_activation(activations::silu_gate)
                }),
                mlp_gain: p.raw("mlp_gain.a_g", &[1]),
                embedding_gain: p.raw("embed_skip.a_g", &[1]),
            })
        });
        let layers: Vec<Layer> = layers.collect();
        (embed, layers)
    });
    let network = Talkie {
        embed,
        layers,
        norm,
        head: p.raw("lm_head", &[d.vocabulary, d.width]),
        head_gain: p.raw("lm_head_gain.w_g", &[1]),
    };
    Ok(Built {
        layers: d.layers as u64,
        network: Box::new(network),
        caches: vec![CacheKind::Kv; d.layers],
        experts: None,
        max_context: d.max_context,
    })
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
    fn norm(&self, t: &Tape<'_>, x: Var) -> Var {
        let x = self.norm.forward(t, x);
        let gain = t.weight(self.gain);
        let gain = t.reshape(gain, &[1, -1, 1, 1]);
        t.mul(x, gain)
    }
}

struct Layer {
    attention: Attention,
    attention_gain: ModuleId,
    mlp: GatedMlp,
    mlp_gain: ModuleId,
    embedding_gain: ModuleId,
}

struct Talkie {
    embed: Embedding,
    layers: Vec<Layer>,
    norm: UnitNorm,
    head: ModuleId,
    head_gain: ModuleId,
}

/// `x + r * gain`.
fn add_gained(t: &Tape<'_>, x: Var, r: Var, gain: ModuleId) -> Var {
    let gain = t.weight(gain);
    let r = t.mul(r, gain);
    t.add(x, r)
}

impl Network for Talkie {
    fn forward(&self, t: &Tape<'_>, tokens: Var, caches: &mut [Cache]) -> Var {
        let embedding = self.embed.forward(t, tokens);
        let embedding = self.norm.forward(t, embedding);
        let mut h = embedding;
        let n = t.dim(tokens, 1);
        let mask = caches.first().map_or(Mask::None, |c| c.mask(t, n, None, false));
        for (i, (layer, cache)) in self.layers.iter().zip(caches).enumerate() {
            t.layer(i);
            let r = self.norm.forward(t, h);
            let r = layer.attention.mix(t, r, mask, cache);
            h = add_gained(t, h, r, layer.attention_gain);
            let r = self.norm.forward(t, h);
            let r = layer.mlp.apply(t, r);
            h = add_gained(t, h, r, layer.mlp_gain);
            h = add_gained(t, h, embedding, layer.embedding_gain);
        }
        t.set_stage(Stage::Head);
        let h = self.norm.forward(t, h);
        let head = t.weight(self.head);
        let head = t.transpose(head, &[1, 0]);
        let logits = t.matmul(h, head);
        let gain = t.weight(self.head_gain);
        t.mul(logits, gain)
    }
}
