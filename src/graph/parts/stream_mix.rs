//! Residual streams side by side that a layer reads through a low-rank mix and writes with one weight each: Qwen4-Exp.

use crate::graph::prelude::*;

/// Sizes of the streams.
#[derive(Clone, Copy, Debug)]
pub struct StreamMixDims {
    /// Hidden size of a stream.
    pub width: u64,
    /// Number of streams.
    pub streams: u64,
    /// Rank of the mix.
    pub rank: u64,
    /// Epsilon of the norm.
    pub eps: f64,
}

impl StreamMixDims {
    /// Features of all streams together.
    pub const fn all(&self) -> u64 {
        self.width * self.streams
    }
}

/// A norm of each stream, which scales by one plus its weight: one compiled function in float32.
#[derive(Debug)]
pub struct StreamNorm {
    weight: ModuleId,
    dims: StreamMixDims,
}

impl StreamNorm {
    /// Declares `name.weight`.
    pub fn new(p: &mut ParamBuilder, name: &str, dims: StreamMixDims) -> Self {
        Self { weight: p.raw(&format!("{name}.weight"), &[dims.all()]), dims }
    }

    /// The normalized streams `[batch, tokens, all]`.
    pub fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let (t, dims) = (x.tape(), x.shape().signed());
        let weight = t.weight(self.weight);
        let (count, width) = (self.dims.streams as i64, self.dims.width as i64);
        x.compiled(|x| {
            let y = x.astype(DType::F32).unflatten(-1, &[count, width]);
            let y = y * (y.square().mean(-1, true) + self.dims.eps).rsqrt();
            let scale = weight.astype(DType::F32).unflatten(-1, &[count, width]) + 1.0;
            (y * scale).reshape(&dims).astype(x.dtype())
        })
    }
}

/// How a sub-layer reads the streams and writes back.
#[derive(Debug)]
pub struct StreamMix {
    dims: StreamMixDims,
    norm: StreamNorm,
    down: Linear,
    up: Linear,
    inject: Option<Linear>,
}

impl StreamMix {
    /// Declares the mix `name` of a sub-layer.
    pub fn new(p: &mut ParamBuilder, name: &str, dims: StreamMixDims) -> Self {
        let mut mix = Self::reading(p, name, dims);
        let inject = p.scope(name, |p| {
            Linear::new(p, "block_inject_weight", dims.all(), dims.streams, false)
        });
        mix.inject = Some(inject);
        mix
    }

    /// Declares a mix that only reads.
    pub fn reading(p: &mut ParamBuilder, name: &str, dims: StreamMixDims) -> Self {
        p.scope(name, |p| Self {
            dims,
            norm: StreamNorm::new(p, "hc_norm", dims),
            down: Linear::new(p, "input_mix_weight_down", dims.all(), dims.rank, false),
            up: Linear::new(p, "input_mix_weight_up", dims.rank, dims.all(), false),
            inject: None,
        })
    }

    /// The input of the sub-layer and the weights with which its output goes back.
    pub fn read<'t>(&self, h: Var<'t>) -> (Var<'t>, Option<Var<'t>>) {
        let (count, width) = (self.dims.streams as i64, self.dims.width as i64);
        let normed = self.norm.forward(h);
        let low = self.down.forward(normed).compiled(|x| activations::silu(x / count));
        let x = self.up.forward(low).compiled(|mix| {
            let mix = mix.sigmoid().unflatten(-1, &[count, width]);
            (mix * normed.unflatten(-1, &[count, width])).mean(-2, false)
        });
        let weights = self
            .inject
            .as_ref()
            .map(|inject| inject.forward(normed).compiled(|w| (w / count).sigmoid() * 2i64));
        (x, weights)
    }

    /// The streams with the output `x` of the sub-layer added to each by its weight.
    pub fn write<'t>(&self, x: Var<'t>, h: Var<'t>, weights: Option<Var<'t>>) -> Var<'t> {
        let Some(weights) = weights else { return h };
        let dims = h.shape().signed();
        x.compiled(|x| h + (x.expand_dims(&[-2]) * weights.expand_dims(&[-1])).reshape(&dims))
    }
}
