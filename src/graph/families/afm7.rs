//! Apple's on-device foundation model (`afm7`): keys and values rounded as if they were 8-bit integers; the last layers
//! attend to the keys and values of the last one that has any.
//!
//! mlx-lm 0.32.2 cannot quantize its fused projection.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let width = c.positive("hidden_dim")?;
    let query = c.positive("num_heads")?;
    let heads = Heads { query, kv: c.positive("num_kv_heads")?, dim: width / query };
    if heads.query * heads.dim != width {
        return Err(c.invalid("num_heads", "a divisor of hidden_dim"));
    }
    let vocabulary = c.positive("vocab_size")?;
    let all = layer_count(&c.clone().with("num_hidden_layers", c.positive("num_layers")?))?;
    let reusing = c.dim("num_kv_reuse_layers")?;
    let Some(own) = all.checked_sub(reusing).filter(|n| *n > 0) else {
        return Err(c.invalid("num_kv_reuse_layers", format!("less than num_layers ({all})")));
    };
    let hidden = width as f64 * c.number_or("hidden_dim_scale_factor", 3.25)?;
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let rope = RopeModule::plain(heads.dim, true, c.number_or("rope_theta", 50_000.0)?);
    let parts = Parts { width, hidden: hidden as u64, heads, eps, rope };
    let last = own as usize - 1;
    let names = Names { embed: "embedding", norm: "output_norm", ..Names::LLAMA };
    let o = Outline { head: HeadKind::Tied, eps, names, ..Outline::new(width, own, vocabulary) };
    let mut decoder = o.decoder(p, |p, i| {
        let kv = KvSource::Own(OwnKv::new(p, &parts));
        let layer = layer(p, &parts, kv);
        Ok(Place::new(MaskRule::Full, layer).source(i as usize == last))
    })?;
    p.scope("model", |p| {
        decoder.places.extend((0..reusing).map(|i| {
            p.scope(&format!("kv_reuse_layers.{i}"), |p| {
                let q = Linear::new(p, "self_attn.q_proj", width, width, false);
                let layer = layer(p, &parts, KvSource::Reused(q));
                Place::new(MaskRule::Full, layer).reading(last)
            })
        }));
    });
    // The fused projection cannot be packed.
    let decoder = decoder.with_packing(QuantOverride::Impossible, &["qkv_proj"]);
    Ok(decoder.built())
}

/// What the layers are built from.
struct Parts {
    width: u64,
    hidden: u64,
    heads: Heads,
    eps: f64,
    rope: RopeModule,
}

/// Where a layer's keys and values come from, with the projections that differ.
enum KvSource {
    Own(OwnKv),
    Reused(Linear),
}

struct OwnKv {
    qkv: Projections,
    k_norm: RmsNorm,
    key_scale: ModuleId,
    value_scale: ModuleId,
}

impl OwnKv {
    fn new(p: &mut ParamBuilder, parts: &Parts) -> Self {
        p.scope("self_attn", |p| Self {
            qkv: Projections::fused(p, "qkv_proj", parts.width, parts.heads, false),
            k_norm: RmsNorm::new(p, "k_norm", parts.heads.dim, 1e-5),
            key_scale: p.raw("quant_key_scale", &[]),
            value_scale: p.raw("quant_value_scale", &[]),
        })
    }
}

fn layer(p: &mut ParamBuilder, parts: &Parts, kv: KvSource) -> Sandwich {
    let Parts { width, hidden, heads, eps, .. } = *parts;
    let attention = AfmAttention {
        kv,
        q_norm: RmsNorm::new(p, "self_attn.q_norm", heads.dim, 1e-5),
        out: Linear::new(p, "self_attn.out_proj", width, width, false),
        rope: parts.rope.clone(),
        heads,
    };
    let mlp = GatedMlp::new(p, "mlp", width, hidden, false);
    Sandwich::pre_norm(p, width, eps, attention, mlp)
}

/// Attention over keys and values of its own or of the last layer that has some.
struct AfmAttention {
    kv: KvSource,
    q_norm: RmsNorm,
    out: Linear,
    rope: RopeModule,
    heads: Heads,
}

impl AfmAttention {
    fn scale(&self) -> f64 {
        (self.heads.dim as f64).powf(-0.5)
    }

    fn attend<'t>(&self, x: Var<'t>, mask: Mask<'t>, own: &OwnKv, cache: &mut Cache) -> Var<'t> {
        let Heads { query, kv, .. } = self.heads;
        let [q, k, v] = own.qkv.forward(x, self.heads);
        let (q, k, v) = (Heads::split(q, query), Heads::split(k, kv), Heads::split(v, kv));
        let offset = cache.offset();
        let q = self.q_norm.forward(self.rope.forward(q, offset));
        let k = own.k_norm.forward(self.rope.forward(k, offset));
        let (k, v) = (rounded(k, own.key_scale), rounded(v, own.value_scale));
        attend_cached([q, k, v], self.scale(), mask, cache)
    }

    /// Attention to keys and values that the cache of an earlier layer holds, the new tokens included.
    fn attend_again<'t>(&self, x: Var<'t>, mask: Mask<'t>, q: &Linear, cache: &Cache) -> Var<'t> {
        let t = x.tape();
        let (k, v) = cache.keys_and_values(t);
        let (k, v) = (k.dense(t), v.dense(t));
        let offset = k.dim(2).saturating_sub(x.dim(1));
        let q = self.rope.forward(Heads::split(q.forward(x), self.heads.query), offset);
        Heads::join(self.q_norm.forward(q).attention(k, v, self.scale(), mask, None))
    }
}

/// `x` rounded to 8-bit integers times a scale.
fn rounded(x: Var<'_>, scale: ModuleId) -> Var<'_> {
    let scale = x.tape().weight(scale);
    let dtype = x.dtype();
    x.compiled(|x| {
        let x = x.astype(DType::F32);
        let scale = scale.astype(DType::F32);
        ((x / scale).round().clip(-128i64, 127i64) * scale).astype(dtype)
    })
}

impl Mixer for AfmAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        self.out.forward(match &self.kv {
            KvSource::Own(own) => self.attend(x, mask, own, cache),
            KvSource::Reused(q) => self.attend_again(x, mask, q, cache),
        })
    }
}
