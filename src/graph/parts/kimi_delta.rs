//! Kimi Delta Attention: a short convolution and a gated delta rule with one decay per feature.

use super::block::Mixer;
use super::gated_delta::{bounded_decay, decay, delta_rule, normalize_keys};
use crate::graph::prelude::*;

/// Dimensions of a layer.
#[derive(Clone, Copy, Debug)]
pub struct KimiDeltaDims {
    /// Hidden size of the model.
    pub width: u64,
    /// Heads.
    pub heads: u64,
    /// Features per head.
    pub dim: u64,
    /// Taps of the convolution.
    pub kernel: u64,
}

impl KimiDeltaDims {
    /// Reads `linear_attn_config`; `kernel` is the default of the convolution's size.
    ///
    /// # Errors
    /// When a value is missing or out of range.
    pub fn read(c: &Config, width: u64, kernel: Option<u64>) -> Result<Self, ConfigError> {
        let kernel = Self::kernel(c, kernel)?;
        Ok(Self { width, heads: c.positive("num_heads")?, dim: c.positive("head_dim")?, kernel })
    }

    /// Reads `short_conv_kernel_size`, which is required unless there is a default.
    ///
    /// # Errors
    /// When it is missing or below 2.
    pub fn kernel(c: &Config, default: Option<u64>) -> Result<u64, ConfigError> {
        match c.opt_dim("short_conv_kernel_size")?.or(default) {
            Some(n) if n >= 2 => Ok(n),
            Some(_) => Err(c.invalid("short_conv_kernel_size", "a whole number of at least 2")),
            None => c.positive("short_conv_kernel_size"),
        }
    }

    fn features(&self) -> u64 {
        self.heads * self.dim
    }
}

/// Projections and convolutions of queries, keys and values.
#[derive(Debug)]
enum Inputs {
    /// `{q,k,v}_proj` and `{q,k,v}_conv`.
    Separate([(Linear, Conv1d); 3]),
    /// `qkv_proj` and `qkv_conv`.
    Joined(Linear, Conv1d),
}

/// The gate of the output.
#[derive(Debug)]
enum Gate {
    /// `g_a_proj` and `g_b_proj`.
    Low(Linear, Linear),
    /// `g_proj`.
    Full(Linear),
    /// `fbg_a_proj`, which holds the first matrices of decay, write strength and gate, and `g_b_proj`.
    Joined(Linear, Linear),
}

/// A Kimi Delta Attention layer.
#[derive(Debug)]
pub struct KimiDelta {
    dims: KimiDeltaDims,
    inputs: Inputs,
    /// The first matrix of the decay and that of the write strength, where the gate does not hold them.
    own: Option<(Linear, Linear)>,
    f_b: Linear,
    gate: Gate,
    a_log: ModuleId,
    dt_bias: ModuleId,
    norm: RmsNorm,
    out: Linear,
    /// Lower bound of the logarithm of the decay.
    bound: Option<f64>,
}

impl KimiDelta {
    /// Declares the layer of Kimi Linear under `self_attn`.
    pub fn separate(p: &mut ParamBuilder, d: KimiDeltaDims, eps: f64) -> Self {
        p.scope("self_attn", |p| {
            let part = |p: &mut ParamBuilder, name: &str| {
                let linear = Linear::new(p, &format!("{name}_proj"), d.width, d.features(), false);
                let conv = format!("{name}_conv.conv");
                (linear, Conv1d::depthwise(p, &conv, d.features(), d.kernel, false))
            };
            let inputs = Inputs::Separate(["q", "k", "v"].map(|name| part(p, name)));
            Self::finish(p, d, eps, inputs, false, &[1, 1, d.heads, 1], None)
        })
    }

    /// Declares the layer of Kimi K3 under `self_attn`.
    pub fn joined(
        p: &mut ParamBuilder,
        d: KimiDeltaDims,
        eps: f64,
        full_gate: bool,
        bound: Option<f64>,
    ) -> Self {
        p.scope("self_attn", |p| {
            let width = 3 * d.features();
            let qkv = Linear::new(p, "qkv_proj", d.width, width, false);
            let conv = Conv1d::depthwise(p, "qkv_conv.conv", width, d.kernel, false);
            Self::finish(p, d, eps, Inputs::Joined(qkv, conv), full_gate, &[d.heads], bound)
        })
    }

    /// Declares the layer of GLM-5-Next under `self_attn`, whose matrices with the same input are one.
    pub fn fused(p: &mut ParamBuilder, d: KimiDeltaDims, eps: f64, bound: Option<f64>) -> Self {
        p.scope("self_attn", |p| {
            let width = 3 * d.features();
            let qkv = Linear::new(p, "qkv_proj", d.width, width, false);
            let conv = Conv1d::depthwise(p, "qkv_conv.conv", width, d.kernel, false);
            let all = Linear::new(p, "fbg_a_proj", d.width, 2 * d.dim + d.heads, false);
            let f_b = Linear::new(p, "f_b_proj", d.dim, d.features(), false);
            let g_b = Linear::new(p, "g_b_proj", d.dim, d.features(), false);
            Self {
                inputs: Inputs::Joined(qkv, conv),
                own: None,
                f_b,
                gate: Gate::Joined(all, g_b),
                a_log: p.raw_f32("A_log", &[d.heads]),
                dt_bias: p.raw_f32("dt_bias", &[d.features()]),
                norm: RmsNorm::new(p, "o_norm", d.dim, eps),
                out: Linear::new(p, "o_proj", d.features(), d.width, false),
                dims: d,
                bound,
            }
        })
    }

    fn finish(
        p: &mut ParamBuilder,
        d: KimiDeltaDims,
        eps: f64,
        inputs: Inputs,
        full_gate: bool,
        a_log: &[u64],
        bound: Option<f64>,
    ) -> Self {
        let f_a = Linear::new(p, "f_a_proj", d.width, d.dim, false);
        let f_b = Linear::new(p, "f_b_proj", d.dim, d.features(), false);
        let beta = Linear::new(p, "b_proj", d.width, d.heads, false);
        Self {
            inputs,
            own: Some((f_a, beta)),
            f_b,
            gate: if full_gate {
                Gate::Full(Linear::new(p, "g_proj", d.width, d.features(), false))
            } else {
                let a = Linear::new(p, "g_a_proj", d.width, d.dim, false);
                Gate::Low(a, Linear::new(p, "g_b_proj", d.dim, d.features(), false))
            },
            a_log: p.raw_f32("A_log", a_log),
            dt_bias: p.raw_f32("dt_bias", &[d.features()]),
            norm: RmsNorm::new(p, "o_norm", d.dim, eps),
            out: Linear::new(p, "o_proj", d.features(), d.width, false),
            dims: d,
            bound,
        }
    }

    /// Queries, keys and values `[batch, tokens, features]`. The states of the convolutions are the first of the
    /// cache; the next one is the recurrent state.
    fn project<'t>(&self, x: Var<'t>, cache: &mut Cache) -> [Var<'t>; 3] {
        let keep = self.dims.kernel as u32 - 1;
        match &self.inputs {
            Inputs::Joined(qkv, conv) => {
                let qkv = qkv.forward(x);
                let past = cache.state(x.tape(), 0).unwrap_or_else(|| zeros(qkv, keep));
                let qkv = short_conv(conv, qkv, past, keep, (cache, 0));
                let n = self.dims.features() as u32;
                [0, 1, 2].map(|i| qkv.slice(-1, i * n, (i + 1) * n))
            }
            Inputs::Separate(parts) => {
                let projected = [0, 1, 2].map(|i| parts[i].0.forward(x));
                let past = match (
                    cache.state(x.tape(), 0),
                    cache.state(x.tape(), 1),
                    cache.state(x.tape(), 2),
                ) {
                    (Some(q), Some(k), Some(v)) => [q, k, v],
                    _ => [zeros(projected[0], keep); 3],
                };
                [0, 1, 2].map(|i| short_conv(&parts[i].1, projected[i], past[i], keep, (cache, i)))
            }
        }
    }

    /// Index of the recurrent state in the cache.
    fn state_slot(&self) -> usize {
        match self.inputs {
            Inputs::Separate(_) => 3,
            Inputs::Joined(..) => 1,
        }
    }

    /// Number of states in the cache of a layer of Kimi Linear.
    pub const SEPARATE_STATES: usize = 4;
    /// Number of states in the cache of a layer of Kimi K3.
    pub const JOINED_STATES: usize = 2;
}

impl Mixer for KimiDelta {
    fn mix<'t>(&self, x: Var<'t>, _: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let d = &self.dims;
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let heads = [b, n, d.heads as i64, d.dim as i64];
        let [q, k, v] = self.project(x, cache).map(|y| y.reshape(&heads));
        let (q, k) = normalize_keys(q, k);
        let joined = match &self.gate {
            Gate::Joined(all, _) => {
                let at = [d.dim as u32, (d.dim + d.heads) as u32];
                let parts: [Var<'t>; 3] = all.forward(x).split(&at, -1);
                Some(parts)
            }
            Gate::Low(..) | Gate::Full(_) => None,
        };
        let decays = match (joined, &self.own) {
            (Some([low, ..]), _) => low,
            (None, Some((f_a, _))) => f_a.forward(x),
            (None, None) => t.fail("no matrix of the decay"),
        };
        let a = self.f_b.forward(decays).reshape(&heads);
        let strengths = match (joined, &self.own) {
            (Some([_, beta, _]), _) => beta,
            (None, Some((_, beta))) => beta.forward(x),
            (None, None) => t.fail("no matrix of the write strength"),
        };
        let beta = strengths.reshape(&heads[..3]).sigmoid();
        let a_log = t.weight(self.a_log).reshape(&[d.heads as i64, 1]);
        let dt_bias = t.weight(self.dt_bias).reshape(&[d.heads as i64, d.dim as i64]);
        let g = match self.bound {
            Some(bound) => bounded_decay(a_log, a, dt_bias, bound),
            None => decay(a_log, a, dt_bias),
        };
        let y = delta_rule([q, k, v, g, beta], cache, self.state_slot());
        let gate = match &self.gate {
            Gate::Full(g) => g.forward(x),
            Gate::Low(a, b) => b.forward(a.forward(x)),
            Gate::Joined(_, b) => b.forward(joined.map_or(x, |[_, _, low]| low)),
        };
        let gate = gate.reshape(&heads);
        let y = (self.norm.forward(y) * gate.sigmoid()).reshape(&[b, n, -1]);
        self.out.forward(y)
    }
}

/// The state of a convolution before the first token.
pub fn zeros(like: Var<'_>, keep: u32) -> Var<'_> {
    let (shape, dtype) = (like.shape().with(1, keep), like.dtype());
    like.tape().full(shape, 0.0, dtype)
}

/// `ShortConv1d`: a causal depth-wise convolution and SiLU, with a dense copy of the last inputs as its state.
pub fn short_conv<'t>(
    conv: &Conv1d,
    x: Var<'t>,
    past: Var<'t>,
    keep: u32,
    (cache, slot): (&mut Cache, usize),
) -> Var<'t> {
    let input = concat([past, x], 1);
    let y = activations::silu(conv.forward(input));
    cache.set_state(slot, input.last(1, keep).contiguous());
    y
}
