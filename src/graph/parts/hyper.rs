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
pub struct Mixes {
    /// Weights of the streams in the input of the sub-layer that follows, `[batch, tokens, streams]`.
    pub pre: Var,
    /// Weights of the output of this sub-layer in the streams.
    pub post: Var,
    /// Mix between the streams, `[batch, tokens, streams, streams]`.
    pub between: Var,
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
    pub fn mixes(&self, t: &Tape<'_>, streams: Var) -> Mixes {
        let s = &self.settings;
        let n = s.streams;
        let (rows, tokens) = (i64::from(t.dim(streams, 0)), i64::from(t.dim(streams, 1)));
        let flat = t.astype(t.reshape(streams, &[rows, tokens, -1]), DType::F32);
        let flat = t.rms_norm(flat, None, s.norm_eps);
        let mix = t.matmul(flat, t.transpose(t.weight(self.weight), &[1, 0]));
        let scale = t.weight(self.scale);
        let values = (0..s.columns()).map(|i| (i / n).min(2) as f64).collect();
        let ids = t.table(&FrequencyTable::Given { values, dtype: DType::I32 });
        let mix = t.add(t.mul(mix, t.take(scale, ids)), t.weight(self.base));
        let [pre, post, between] = t.split(mix, &[n as u32, 2 * n as u32], -1);
        let pre = t.add(t.sigmoid(pre), s.eps);
        let post = t.mul(t.sigmoid(post), 2.0);
        let between = t.reshape(between, &[rows, tokens, n as i64, n as i64]);
        let between = t.add(t.softmax(between, false), s.eps);
        Mixes { pre, post, between: self.sinkhorn(t, between) }
    }

    /// The same with one kernel for everything after the product, as DeepSeek-V4 runs it: the collapsed streams
    /// `[batch, tokens, width]` and the mixes of the way back. The kernel is written for four streams.
    pub fn collapse_fused(&self, t: &Tape<'_>, streams: Var) -> (Var, Var, Var) {
        let s = &self.settings;
        let shape = t.shape(streams);
        let logits = logits(t, t.astype(streams, DType::F32), self.weight, s.norm_eps);
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
            (out(&[shape.dim(3)]), t.dtype(streams)),
            (out(&[n]), DType::F32),
            (out(&[n, n]), DType::F32),
        ];
        let [x, post, between] = t.kernel_many(kernel, &[streams, logits, scale, base], outputs);
        (x, post, between)
    }

    /// One kernel, one thread per matrix.
    fn sinkhorn(&self, t: &Tape<'_>, matrices: Var) -> Var {
        let n = self.settings.streams as i64;
        let dims: Vec<i64> = t.shape(matrices).dims().iter().map(|&d| i64::from(d)).collect();
        let flat = t.reshape(matrices, &[-1, n, n]);
        let values = vec![self.settings.eps];
        let eps = t.table(&FrequencyTable::Given { values, dtype: DType::F32 });
        let shape = t.shape(flat);
        let kernel = Kernel::Sinkhorn { rounds: self.settings.rounds as u32 };
        t.reshape(t.kernel_one(kernel, &[flat, eps], shape, DType::F32), &dims)
    }
}

/// The weighted sum of the streams, `[batch, tokens, width]`.
pub fn collapse(t: &Tape<'_>, streams: Var, weights: Var) -> Var {
    let dtype = t.dtype(streams);
    let sum = t.sum(t.mul(t.expand_dims(weights, &[-1]), t.astype(streams, DType::F32)), 2, false);
    t.astype(sum, dtype)
}

/// The streams after a sub-layer with output `x`.
pub fn expand(t: &Tape<'_>, x: Var, streams: Var, mixes: &Mixes) -> Var {
    let dtype = t.dtype(streams);
    let mixed = t.mul(t.expand_dims(mixes.between, &[-1]), t.expand_dims(streams, &[-2]));
    let mixed = t.sum(mixed, 2, false);
    let out = t.add(t.mul(t.expand_dims(mixes.post, &[-1]), t.expand_dims(x, &[-2])), mixed);
    t.astype(out, dtype)
}

/// The normalised float32 streams times a matrix.
fn logits(t: &Tape<'_>, streams: Var, weight: ModuleId, eps: f64) -> Var {
    let flat = t.rms_norm(t.flatten(streams, -2, -1), None, eps);
    t.matmul(flat, t.transpose(t.weight(weight), &[1, 0]))
}

/// The streams after a sub-layer with output `x`, as one compiled function: DeepSeek-V4's form.
pub fn expand_fused(t: &Tape<'_>, x: Var, streams: Var, (post, between): (Var, Var)) -> Var {
    let dtype = t.dtype(x);
    let [out] = t.compiled(|t| {
        let new = t.mul(t.expand_dims(post, &[-1]), t.astype(t.expand_dims(x, &[2]), DType::F32));
        let out = t.add(new, t.matmul(t.swapaxes(between, -1, -2), t.astype(streams, DType::F32)));
        [t.astype(out, dtype)]
    });
    out
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
    pub fn forward(&self, t: &Tape<'_>, streams: Var) -> Var {
        let dtype = t.dtype(streams);
        let wide = t.astype(streams, DType::F32);
        let mixes = logits(t, wide, self.weight, self.settings.norm_eps);
        let (scale, base) = (t.weight(self.scale), t.weight(self.base));
        let weights = t.sigmoid(t.add(t.mul(mixes, scale), base));
        let product = t.mul(t.expand_dims(t.add(weights, self.settings.eps), &[-1]), wide);
        t.astype(t.sum(product, 2, false), dtype)
    }
}
