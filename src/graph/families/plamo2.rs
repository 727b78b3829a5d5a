//! PLaMo 2: Mamba-2 with separate projections for B, C and the time step, alternating with attention.

use crate::graph::parts::mamba2_mixer::{Recurrence, causal_conv};
use crate::graph::parts::plamo_sandwich::plamo_sandwich;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_defaults(&[("num_hidden_layers", 32.into())]);
    let count = layer_count(c)?;
    let s = Settings::read(c)?;
    let mamba = mamba_layers(c, count)?;
    let hidden = c.dim_or("intermediate_size", 13_312)?;
    let vocabulary = c.dim_or("vocab_size", 32_000)?;
    let o = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", true)?),
        eps: s.eps,
        max_context: Some(c.dim_or("max_position_embeddings", 2048)?),
        names: Names { layers: "layers.layers", ..Names::LLAMA },
        norm: NormKind::Offset { kept: false },
        ..Outline::new(s.width, count, vocabulary)
    };
    let decoder = o.decoder(p, |p, i| {
        let (rule, mixer): (_, Box<dyn Mixer>) = match mamba[i as usize] {
            true => (MaskRule::Recurrent(2), Box::new(Mamba::new(p, &s))),
            false => (MaskRule::Full, Box::new(DenseAttention::new(p, &s))),
        };
        Ok((rule, plamo_sandwich(p, s.width, hidden, s.eps, false, mixer)))
    })?;
    Ok(decoder.built())
}

/// Which layers are Mamba: all but one in every `mamba_step`.
fn mamba_layers(c: &Config, count: u64) -> Result<Vec<bool>, ConfigError> {
    let step = c.dim_or("mamba_step", 2)?;
    let enabled = c.bool_or("mamba_enabled", true)?;
    if (enabled && step < 2) || step / 2 >= count {
        return Err(c.invalid("mamba_step", "at least 2 and less than twice the layers"));
    }
    let mamba = |i: u64| enabled && i % step != step / 2;
    Ok((0..count).map(mamba).collect())
}

struct Settings {
    width: u64,
    heads: Heads,
    eps: f64,
    mamba: Mamba2Dims,
}

impl Settings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let width = c.dim_or("hidden_size", 4096)?;
        let dim = c.dim_or("hidden_size_per_head", 128)?;
        let heads = Heads {
            query: c.dim_or("num_attention_heads", 32)?,
            kv: c.dim_or("num_key_value_heads", 4)?,
            dim,
        };
        if heads.kv == 0 || heads.query % heads.kv != 0 {
            return Err(c.invalid("num_key_value_heads", "a divisor of num_attention_heads"));
        }
        let count = c.dim_or("mamba_num_heads", 64)?;
        let mamba = Mamba2Dims {
            width,
            inner: count * dim,
            heads: count,
            head_dim: dim,
            groups: 1,
            state: c.dim_or("mamba_d_state", 64)?,
            kernel: c.dim_or("mamba_d_conv", 4)?,
        };
        let mamba = mamba.checked(c, "mamba_num_heads", "mamba_d_conv")?;
        Ok(Self { width, heads, eps: c.number_or("rms_norm_eps", 1e-6)?, mamba })
    }
}

struct Mamba {
    dims: Mamba2Dims,
    input: Linear,
    conv: Conv1d,
    bcdt: Linear,
    dt: Linear,
    recurrence: Recurrence,
    /// Weights of the norms over the time step, B and C.
    norms: [ModuleId; 3],
    eps: f64,
    out: Linear,
}

impl Mamba {
    fn new(p: &mut ParamBuilder, s: &Settings) -> Self {
        let d = s.mamba;
        let rank = (s.width / 16).max(64);
        p.scope("mixer", |p| Self {
            dims: d,
            input: Linear::new(p, "in_proj", d.width, 2 * d.inner, false),
            conv: Conv1d::depthwise(p, "conv1d", d.inner, d.kernel, false),
            bcdt: Linear::new(p, "bcdt_proj", d.inner, rank + 2 * d.state, false),
            dt: Linear::new(p, "dt_proj", rank, d.heads, false),
            recurrence: Recurrence::new(p, d, false, [0.001, 100.0]),
            norms: [
                p.raw("dt_norm_weight", &[rank]),
                p.raw("B_norm_weight", &[d.state]),
                p.raw("C_norm_weight", &[d.state]),
            ],
            eps: s.eps,
            out: Linear::new(p, "out_proj", d.inner, d.width, false),
        })
    }
}

impl Mixer for Mamba {
    fn mix<'t>(&self, x: Var<'t>, _: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let d = &self.dims;
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let zx = self.input.forward(x).reshape(&[b, n, d.heads as i64, -1]);
        let [z, x] = zx.split(&[d.head_dim as u32], -1);
        let x = x.reshape(&[b, -1, d.inner as i64]);
        let x = causal_conv(&self.conv, x, d.kernel, cache);
        let projected = self.bcdt.forward(x);
        let state = d.state as u32;
        let [in_b, in_c, dt] = projected.split(&[state, 2 * state], -1);
        let [dt, in_b, in_c] = [(dt, 0), (in_b, 1), (in_c, 2)]
            .map(|(v, i)| v.rms_norm(Some(x.tape().weight(self.norms[i])), self.eps));
        let dt = self.dt.forward(dt);
        let y = self.recurrence.run([x, in_b, in_c, dt], cache);
        let y = y.reshape(&[b, n, d.inner as i64]);
        self.out.forward(activations::swiglu(z.flatten(-2, -1), y))
    }
}

/// Attention that mlx-lm does not compute over packed keys and values.
struct DenseAttention(Attention);

impl DenseAttention {
    fn new(p: &mut ParamBuilder, s: &Settings) -> Self {
        let h = s.heads;
        p.scope("mixer", |p| {
            let qkv = Projections::fused(p, "qkv_proj", s.width, h, false);
            let o = Linear::new(p, "o_proj", h.query * h.dim, s.width, false);
            let query = GainNorm(p.raw("q_weight", &[h.query, h.dim]));
            let key = GainNorm(p.raw("k_weight", &[h.kv, h.dim]));
            let rope = RopeModule::plain(h.dim, false, 10_000.0);
            let attention = Attention::of(qkv, o, h, Some(rope));
            Self(attention.with_norms(query, key, NormPlace::Heads))
        })
    }
}

impl Mixer for DenseAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let [q, k, v] = self.0.prepared(x, cache.offset());
        let (k, v) = cache.update(k, v);
        let kv = (KvArray::Dense(k.dense(t)), KvArray::Dense(v.dense(t)));
        self.0.output(q, kv, mask)
    }
}

/// A norm over each head with a gain for every head and feature.
struct GainNorm(ModuleId);

impl Norm for GainNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        x.rms_norm(None, 1e-6) * x.tape().weight(self.0).expand_dims(&[1])
    }
}
