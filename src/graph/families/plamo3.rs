//! PLaMo 3: attention over a window with full attention every few layers, norms around mixer and MLP.

use crate::graph::parts::plamo_sandwich::plamo_sandwich;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_defaults(&[("num_hidden_layers", 32.into())]);
    let count = layer_count(c)?;
    let width = c.dim_or("hidden_size", 4096)?;
    let heads = Heads::read_or(c, [32, 4, 128])?;
    if heads.kv == 0 || heads.query % heads.kv != 0 {
        return Err(c.invalid("num_key_value_heads", "a divisor of num_attention_heads"));
    }
    let eps = c.number_or("rms_norm_eps", 1e-6)?;
    let hidden = c.dim_or("intermediate_size", 13_312)?;
    let vocabulary = c.dim_or("vocab_size", 32_000)?;
    let window = match c.opt_dim("sliding_window")? {
        Some(n) => n,
        None => c.dim_or("window_size", 2048)?,
    };
    let pattern = c.dim_or("sliding_window_pattern", 8)?;
    if pattern == 0 || window == 0 {
        let key = if pattern == 0 { "sliding_window_pattern" } else { "sliding_window" };
        return Err(c.invalid(key, "a whole number of at least 1"));
    }
    let global = RopeModule::plain(heads.dim, false, c.number_or("rope_theta", 1e6)?);
    let local = RopeModule::plain(heads.dim, false, c.number_or("rope_local_theta", 1e4)?);
    let o = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", true)?),
        eps,
        max_context: Some(c.dim_or("max_position_embeddings", 2048)?),
        names: Names { layers: "layers.layers", ..Names::LLAMA },
        norm: NormKind::Offset { kept: true },
        ..Outline::new(width, count, vocabulary)
    };
    let window = window as u32;
    let decoder = o.decoder(p, |p, i| {
        let (rule, cache, rope) = if (i + 1) % pattern == 0 {
            (MaskRule::Full, CacheKind::Kv, &global)
        } else {
            let cache = CacheKind::Rotating { max_size: window, keep: 0 };
            (MaskRule::Window(window + 1), cache, &local)
        };
        let mixer = Attention::new(p, width, heads, eps, rope.clone());
        Ok((rule, cache, plamo_sandwich(p, width, hidden, eps, true, mixer)))
    })?;
    Ok(decoder.built())
}

struct Attention {
    heads: Heads,
    qkv: Linear,
    o: Linear,
    q_norm: OffsetNorm,
    k_norm: OffsetNorm,
    rope: RopeModule,
}

impl Attention {
    fn new(p: &mut ParamBuilder, width: u64, h: Heads, eps: f64, rope: RopeModule) -> Self {
        p.scope("mixer", |p| Self {
            heads: h,
            qkv: Linear::new(p, "qkv_proj", width, (h.query + 2 * h.kv) * h.dim, false),
            o: Linear::new(p, "o_proj", h.query * h.dim, width, false),
            q_norm: OffsetNorm::new(p, "q_norm", h.dim, eps, 1.0).kept(),
            k_norm: OffsetNorm::new(p, "k_norm", h.dim, eps, 1.0).kept(),
            rope,
        })
    }
}

impl Mixer for Attention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let h = &self.heads;
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let qkv = self.qkv.forward(x);
        let at = [(h.query * h.dim) as u32, ((h.query + h.kv) * h.dim) as u32];
        let parts: [Var<'_>; 3] = qkv.split(&at, -1);
        let counts = [h.query, h.kv, h.kv];
        let [q, k, v] = [0, 1, 2].map(|i| {
            parts[i].reshape(&[b, n, counts[i] as i64, h.dim as i64]).transpose(&[0, 2, 1, 3])
        });
        let q = self.q_norm.forward(q);
        let k = self.k_norm.forward(k);
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        let y = attend(q, cache.update(k, v), (h.dim as f64).powf(-0.5), mask, None);
        let y = y.transpose(&[0, 2, 1, 3]).reshape(&[b, n, (h.query * h.dim) as i64]);
        self.o.forward(y)
    }
}
