//! Hyper-connections: several residual streams that every sub-layer reads and writes through learned mixes, which a
//! Sinkhorn iteration makes doubly stochastic: DeepSeek-V4.1 and DeepSeek-V4.

use crate::graph::prelude::*;

/// Settings of the hyper-connections.
#[derive(Clone, Copy, Debug)]
pub struct HyperSettings {
    /// Hidden size of a stream.
    pub width: u64,
    /// Number of streams.
    pub streams: u64,
    /// Rounds of the Sinkhorn iteration.
    pub rounds: u64,
    /// Epsilon of the mixes.
    pub eps: f64,
    /// Epsilon of the norm.
    pub norm_eps: f64,
}

impl HyperSettings {
    /// Reads `hc_mult`, `hc_sinkhorn_iters` and `hc_eps`.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn read(c: &Config, width: u64, norm_eps: f64) -> Result<Self, ConfigError> {
        let streams = c.dim_or("hc_mult", 4)?;
        if !(1..=64).contains(&streams) {
            return Err(c.invalid("hc_mult", "a whole number from 1 to 64"));
        }
        let rounds = c.dim_or("hc_sinkhorn_iters", 20)?;
        if !(1..=1000).contains(&rounds) {
            return Err(c.invalid("hc_sinkhorn_iters", "a whole number from 1 to 1000"));
        }
        Ok(Self { width, streams, rounds, eps: c.number_or("hc_eps", 1e-6)?, norm_eps })
    }

    /// Columns of the mixes: before, after, and between the streams.
    pub fn columns(&self) -> u64 {
        (2 + self.streams) * self.streams
    }
}

/// How a sub-layer reads the streams and writes back.
#[derive(Clone, Copy, Debug)]
pub struct Mixes<'t> {
    /// Weights of the streams in the input of the sub-layer that follows, `[batch, tokens, streams]`.
    pub pre: Var<'t>,
    /// Weights of the output of this sub-layer in the streams.
    pub post: Var<'t>,
    /// Mix between the streams, `[batch, tokens, streams, streams]`.
    pub between: Var<'t>,
}

/// The mixes of one sub-layer.
#[derive(Debug)]
pub struct HyperConnection {
    settings: HyperSettings,
    weight: ModuleId,
    base: ModuleId,
    scale: ModuleId,
}

impl HyperConnection {
    /// Declares `name.fn`, `name.base` and `name.scale`, all float32.
    pub fn new(p: &mut ParamBuilder, name: &str, s: HyperSettings) -> Self {
        p.scope(name, |p| Self {
            settings: s,
            weight: p.raw_f32("fn", &[s.columns(), s.streams * s.width]),
            base: p.raw_f32("base", &[s.columns()]),
            scale: p.raw_f32("scale", &[3]),
        })
    }

    /// The mixes for the streams `[batch, tokens, streams, width]`.
    pub fn mixes<'t>(&self, streams: Var<'t>) -> Mixes<'t> {
        let t = streams.tape();
        let s = &self.settings;
        let n = s.streams;
        let (rows, tokens) = (i64::from(streams.dim(0)), i64::from(streams.dim(1)));
        let flat = streams.reshape(&[rows, tokens, -1]).astype(DType::F32);
        let flat = flat.rms_norm(None, s.norm_eps);
        let mix = flat.matmul(t.weight(self.weight).transpose(&[1, 0]));
        let scale = t.weight(self.scale);
        let values = (0..s.columns()).map(|i| (i / n).min(2) as f64).collect();
        let ids = t.table(&FrequencyTable::Given { values, dtype: DType::I32 });
        let mix = mix * scale.take(ids) + t.weight(self.base);
        let [pre, post, between] = mix.split(&[n as u32, 2 * n as u32], -1);
        let pre = pre.sigmoid() + s.eps;
        let post = post.sigmoid() * 2.0;
        let between = between.reshape(&[rows, tokens, n as i64, n as i64]).softmax(false) + s.eps;
        Mixes { pre, post, between: self.sinkhorn(between) }
    }

    /// The same with one kernel for everything after the product, as DeepSeek-V4 runs it: the collapsed streams
    /// `[batch, tokens, width]` and the mixes of the way back. The kernel is written for four streams.
    pub fn collapse_fused<'t>(&self, streams: Var<'t>) -> (Var<'t>, Var<'t>, Var<'t>) {
        let t = streams.tape();
        let s = &self.settings;
        let shape = streams.shape();
        let logits = logits(streams.astype(DType::F32), self.weight, s.norm_eps);
        let (scale, base) = (t.weight(self.scale), t.weight(self.base));
        let kernel = Kernel::HyperCollapse {
            rounds: s.rounds as u32,
            eps_nano: (s.eps / 1e-9).round() as u32,
        };
        let rows = Shape::new(&[shape.dim(0), shape.dim(1)]);
        let out = |width: &[u32]| {
            let mut shape = rows;
            width.iter().for_each(|&n| shape.push(n));
            shape
        };
        let n = shape.dim(2);
        let outputs = [
            (out(&[shape.dim(3)]), streams.dtype()),
            (out(&[n]), DType::F32),
            (out(&[n, n]), DType::F32),
        ];
        let [x, post, between] = t.kernel_many(kernel, &[streams, logits, scale, base], outputs);
        (x, post, between)
    }

    /// One kernel, one thread per matrix.
    fn sinkhorn<'t>(&self, matrices: Var<'t>) -> Var<'t> {
        let t = matrices.tape();
        let n = self.settings.streams as i64;
        let dims: Vec<i64> = matrices.shape().dims().iter().map(|&d| i64::from(d)).collect();
        let flat = matrices.reshape(&[-1, n, n]);
        let values = vec![self.settings.eps];
        let eps = t.table(&FrequencyTable::Given { values, dtype: DType::F32 });
        let shape = flat.shape();
        let kernel = Kernel::Sinkhorn { rounds: self.settings.rounds as u32 };
        t.kernel_one(kernel, &[flat, eps], shape, DType::F32).reshape(&dims)
    }
}

/// The weighted sum of the streams, `[batch, tokens, width]`.
pub fn collapse<'t>(streams: Var<'t>, weights: Var<'t>) -> Var<'t> {
    let dtype = streams.dtype();
    (weights.expand_dims(&[-1]) * streams.astype(DType::F32)).sum(2, false).astype(dtype)
}

/// The streams after a sub-layer with output `x`.
pub fn expand<'t>(x: Var<'t>, streams: Var<'t>, mixes: &Mixes<'t>) -> Var<'t> {
    let dtype = streams.dtype();
    let mixed = (mixes.between.expand_dims(&[-1]) * streams.expand_dims(&[-2])).sum(2, false);
    (mixes.post.expand_dims(&[-1]) * x.expand_dims(&[-2]) + mixed).astype(dtype)
}

/// The normalized float32 streams times a matrix.
fn logits(streams: Var<'_>, weight: ModuleId, eps: f64) -> Var<'_> {
    let flat = streams.flatten(-2, -1).rms_norm(None, eps);
    flat.matmul(streams.tape().weight(weight).transpose(&[1, 0]))
}

/// The streams after a sub-layer with output `x`, as one compiled function: DeepSeek-V4's form.
pub fn expand_fused<'t>(
    x: Var<'t>,
    streams: Var<'t>,
    (post, between): (Var<'t>, Var<'t>),
) -> Var<'t> {
    let dtype = x.dtype();
    x.compiled(|x| {
        let new = post.expand_dims(&[-1]) * x.expand_dims(&[2]).astype(DType::F32);
        (new + between.swapaxes(-1, -2).matmul(streams.astype(DType::F32))).astype(dtype)
    })
}

/// The learned weighted sum of the streams before the final norm.
#[derive(Debug)]
pub struct HyperHead {
    settings: HyperSettings,
    weight: ModuleId,
    base: ModuleId,
    scale: ModuleId,
}

impl HyperHead {
    /// Declares `name.fn`, `name.base` and `name.scale`, all float32.
    pub fn new(p: &mut ParamBuilder, name: &str, s: HyperSettings) -> Self {
        p.scope(name, |p| Self {
            settings: s,
            weight: p.raw_f32("fn", &[s.streams, s.streams * s.width]),
            base: p.raw_f32("base", &[s.streams]),
            scale: p.raw_f32("scale", &[1]),
        })
    }

    /// The sum `[batch, tokens, width]`.
    pub fn forward<'t>(&self, streams: Var<'t>) -> Var<'t> {
        let t = streams.tape();
        let dtype = streams.dtype();
        let wide = streams.astype(DType::F32);
        let mixes = logits(wide, self.weight, self.settings.norm_eps);
        let (scale, base) = (t.weight(self.scale), t.weight(self.base));
        let weights = (mixes * scale + base).sigmoid();
        ((weights + self.settings.eps).expand_dims(&[-1]) * wide).sum(2, false).astype(dtype)
    }
}
