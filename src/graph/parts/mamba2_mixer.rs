//! The Mamba-2 mixer: a causal convolution and a selective state-space recurrence with one decay per head.
//!
//! Single tokens take one custom kernel; prompts run in chunks of 256 tokens as matrix products
//! (`mlx_lm/models/ssm.py`).

use super::block::Mixer;
use crate::graph::prelude::*;

/// Tokens of a prompt that are processed together.
const CHUNK: u32 = 256;

/// Dimensions of a Mamba-2 mixer.
#[derive(Clone, Copy, Debug)]
pub struct Mamba2Dims {
    /// Hidden size of the model.
    pub width: u64,
    /// Features of the recurrence; `heads * head_dim` except where a family sets it by itself.
    pub inner: u64,
    /// Heads.
    pub heads: u64,
    /// Features per head.
    pub head_dim: u64,
    /// Groups of heads that share B and C.
    pub groups: u64,
    /// Size of the state per feature.
    pub state: u64,
    /// Taps of the convolution.
    pub kernel: u64,
}

impl Mamba2Dims {
    fn channels(&self) -> u64 {
        self.inner + 2 * self.groups * self.state
    }

    /// Refuses values that mlx-lm cannot run; `kernel` is the key of the convolution's size.
    ///
    /// # Errors
    /// When heads and groups do not fit or the convolution is too short.
    pub fn checked(self, c: &Config, groups: &str, kernel: &str) -> Result<Self, ConfigError> {
        if self.groups == 0 || self.heads % self.groups != 0 {
            return Err(c.invalid(groups, format!("a divisor of the heads ({})", self.heads)));
        }
        if self.kernel < 2 {
            return Err(c.invalid(kernel, "a whole number of at least 2"));
        }
        Ok(self)
    }
}

/// Bounds of the time step; `key` holds a list of two numbers.
///
/// # Errors
/// When the value is of the wrong kind.
pub fn time_limit(c: &Config, key: &str, default: [f64; 2]) -> Result<[f64; 2], ConfigError> {
    match c.opt_numbers(key)? {
        None => Ok(default),
        Some(list) => {
            <[f64; 2]>::try_from(list).map_err(|_| c.invalid(key, "a list of two numbers"))
        }
    }
}

/// How the output of the recurrence meets the gate.
#[derive(Clone, Copy, Debug)]
pub enum GatedNorm {
    /// `norm(silu(gate) * y)`.
    After(ModuleId, f64),
    /// The same, normalised per group of features.
    Grouped(ModuleId, f64, u64),
    /// `silu(gate) * norm(y)`.
    Before(ModuleId, f64),
    /// `silu(gate) * y`.
    None,
}

impl GatedNorm {
    fn forward(self, t: &Tape<'_>, y: Var, gate: Var) -> Var {
        match self {
            Self::None => activations::swiglu(t, gate, y),
            Self::Before(weight, eps) => {
                let y = t.rms_norm(y, Some(t.weight(weight)), eps);
                activations::swiglu(t, gate, y)
            }
            Self::After(weight, eps) => {
                t.rms_norm(activations::swiglu(t, gate, y), Some(t.weight(weight)), eps)
            }
            Self::Grouped(weight, eps, group) => {
                let y = t.unflatten(activations::swiglu(t, gate, y), -1, &[-1, group as i64]);
                t.mul(t.weight(weight), t.flatten(t.rms_norm(y, None, eps), -2, -1))
            }
        }
    }
}

/// Settings of a mixer that are no dimensions.
#[derive(Clone, Copy, Debug)]
pub struct Mamba2Settings {
    /// Bias of the input projection.
    pub in_bias: bool,
    /// Bias of the output projection.
    pub out_bias: bool,
    /// Bias of the convolution.
    pub conv_bias: bool,
    /// Whether `A_log` keeps float32.
    pub a_log_f32: bool,
    /// Bounds of the time step.
    pub limit: [f64; 2],
}

/// A Mamba-2 mixer.
#[derive(Debug)]
pub struct Mamba2 {
    dims: Mamba2Dims,
    input: Linear,
    conv: Conv1d,
    recurrence: Recurrence,
    norm: GatedNorm,
    out: Linear,
}

impl Mamba2 {
    /// Declares the tensors under `name`; `norm` declares its own.
    pub fn new(
        p: &mut ParamBuilder,
        name: &str,
        d: Mamba2Dims,
        s: Mamba2Settings,
        norm: impl FnOnce(&mut ParamBuilder) -> GatedNorm,
    ) -> Self {
        p.scope(name, |p| Self {
            dims: d,
            conv: Conv1d::depthwise(p, "conv1d", d.channels(), d.kernel, s.conv_bias),
            input: Linear::new(p, "in_proj", d.width, d.inner + d.channels() + d.heads, s.in_bias),
            recurrence: Recurrence::new(p, d, s.a_log_f32, s.limit),
            norm: norm(p),
            out: Linear::new(p, "out_proj", d.inner, d.width, s.out_bias),
        })
    }
}

impl Mixer for Mamba2 {
    fn mix(&self, t: &Tape<'_>, x: Var, _: Mask, cache: &mut Cache) -> Var {
        let d = &self.dims;
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        let projected = self.input.forward(t, x);
        let at = [d.inner as u32, (d.inner + d.channels()) as u32];
        let [gate, x, dt] = t.split(projected, &at, -1);
        let x = causal_conv(t, &self.conv, x, d.kernel, cache);
        let at = [d.inner as u32, (d.inner + d.groups * d.state) as u32];
        let [x, in_b, in_c] = t.split(x, &at, -1);
        let y = self.recurrence.run(t, [x, in_b, in_c, dt], cache);
        let y = t.reshape(y, &[b, n, d.inner as i64]);
        self.out.forward(t, self.norm.forward(t, y, gate))
    }
}

/// A causal depth-wise convolution and SiLU; state 0 of the cache holds the last inputs.
pub fn causal_conv(t: &Tape<'_>, conv: &Conv1d, x: Var, kernel: u64, cache: &mut Cache) -> Var {
    let keep = (kernel - 1) as u32;
    let past = cache.state(0).unwrap_or_else(|| {
        let (shape, dtype) = (t.shape(x).with(1, keep), t.dtype(x));
        t.full(shape, 0.0, dtype)
    });
    let input = t.concat(&[past, x], 1);
    cache.set_state(t, 0, t.last(input, 1, keep));
    activations::silu(t, conv.forward(t, input))
}

/// The selective state-space recurrence: `ssm_update`.
#[derive(Debug)]
pub struct Recurrence {
    dims: Mamba2Dims,
    dt_bias: ModuleId,
    a_log: ModuleId,
    d: ModuleId,
    limit: [f64; 2],
}

impl Recurrence {
    /// Declares `dt_bias`, `A_log` and `D`.
    pub fn new(p: &mut ParamBuilder, dims: Mamba2Dims, a_log_f32: bool, limit: [f64; 2]) -> Self {
        let heads = [dims.heads];
        Self {
            dims,
            dt_bias: p.raw("dt_bias", &heads),
            a_log: if a_log_f32 { p.raw_f32("A_log", &heads) } else { p.raw("A_log", &heads) },
            d: p.raw("D", &heads),
            limit,
        }
    }

    /// Runs over x, B, C and dt `[batch, tokens, …]`; state 1 of the cache is the recurrent state.
    /// Returns `[batch, tokens, heads, features]`.
    pub fn run(&self, t: &Tape<'_>, [x, b, c, dt]: [Var; 4], cache: &mut Cache) -> Var {
        let d = &self.dims;
        let (rows, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        let x = t.reshape(x, &[rows, n, d.heads as i64, d.head_dim as i64]);
        let b = t.reshape(b, &[rows, n, d.groups as i64, d.state as i64]);
        let c = t.reshape(c, &[rows, n, d.groups as i64, d.state as i64]);
        let (a_log, skip) = (t.weight(self.a_log), t.weight(self.d));
        let dt = self.time_step(t, dt);
        let state = cache.state(1);
        let (y, state) = match state {
            Some(state) if n == 1 => {
                let (shape, state_type) = (t.shape(x), (t.shape(state), t.dtype(state)));
                let inputs = [x, a_log, b, c, skip, dt, state];
                t.kernel(Kernel::SsmUpdate, &inputs, (shape, t.dtype(x)), state_type)
            }
            _ => self.chunks(t, [x, b, c, dt], a_log, skip, state),
        };
        cache.set_state(t, 1, state);
        y
    }

    /// `compute_dt`: one compiled function.
    fn time_step(&self, t: &Tape<'_>, dt: Var) -> Var {
        let bias = t.weight(self.dt_bias);
        let [low, high] = self.limit;
        let [dt] = t.compiled(|t| {
            let dt = activations::softplus(t, t.add(t.astype(dt, DType::F32), bias));
            [t.clip(dt, low, high)]
        });
        dt
    }

    /// `ssm_attn`: the recurrence as matrix products, chunk by chunk.
    fn chunks(
        &self,
        t: &Tape<'_>,
        [x, b, c, dt]: [Var; 4],
        a_log: Var,
        skip: Var,
        mut state: Option<Var>,
    ) -> (Var, Var) {
        let heads = self.dims.heads as i64;
        let (rows, n) = (i64::from(t.dim(x, 0)), t.dim(x, 1));
        let a = t.neg(t.astype(t.exp(a_log), DType::F32));
        let dta = t.mul(dt, t.reshape(a, &[1, 1, -1]));
        let dtx = t.mul(t.reshape(dt, &[rows, i64::from(n), heads, 1]), x);
        let mut parts = Vec::new();
        let mut start = 0;
        while start < n {
            let end = start.saturating_add(CHUNK).min(n);
            let [dtx, dta, b, c] = [dtx, dta, b, c].map(|v| t.slice(v, 1, start, end));
            let (y, next) = self.chunk(t, [dtx, dta, b, c], state);
            parts.push(t.astype(y, t.dtype(x)));
            state = Some(next);
            start = end;
        }
        let y = t.concat(&parts, 1);
        let skip = t.mul(x, t.reshape(skip, &[1, 1, heads, 1]));
        (t.add(y, skip), state.unwrap_or(y))
    }

    /// One chunk: outputs in float32 and the next state.
    fn chunk(&self, t: &Tape<'_>, [dtx, dta, b, c]: [Var; 4], state: Option<Var>) -> (Var, Var) {
        let repeats = (self.dims.heads / self.dims.groups) as u32;
        let b = t.transpose(b, &[0, 2, 3, 1]);
        let cb = t.repeat(t.matmul(t.swapaxes(c, 1, 2), b), repeats, 1);
        let decay = t.exp(segment_sums(t, t.swapaxes(dta, 1, 2)));
        let y = t.matmul(t.tril(t.mul(cb, decay), 0), t.swapaxes(dtx, 1, 2));
        let mut y = t.swapaxes(y, 1, 2);

        let decay = t.transpose(t.last(decay, 2, 1), &[0, 3, 1, 2]);
        let b = t.swapaxes(t.repeat(b, repeats, 1), 2, 3);
        let decayed = t.swapaxes(t.swapaxes(t.mul(dtx, decay), 1, 2), 2, 3);
        let mut next = t.matmul(decayed, b);
        if let Some(state) = state {
            let total = t.exp(t.cumsum(dta, -2));
            let n = t.dim(total, 1);
            let last = t.expand_dims(t.at(total, 1, n.saturating_sub(1)), &[-2, -1]);
            next = t.add(next, t.mul(last, state));
            let past = self.carried(t, c, state);
            y = t.add(y, t.mul(t.expand_dims(total, &[-1]), past));
        }
        (y, next)
    }

    /// What the state before the chunk gives for every token.
    fn carried(&self, t: &Tape<'_>, c: Var, state: Var) -> Var {
        let d = &self.dims;
        let (rows, n) = (i64::from(t.dim(c, 0)), i64::from(t.dim(c, 1)));
        let (groups, size) = (d.groups as i64, d.state as i64);
        let repeats = (d.heads / d.groups) as i64;
        let c = t.reshape(c, &[rows, n, groups, 1, size, 1]);
        let state = t.reshape(state, &[rows, 1, groups, repeats, d.head_dim as i64, size]);
        t.flatten(t.squeeze(t.matmul(state, c), &[-1]), 2, 3)
    }
}

/// `segsum`: sums of the steps between every pair of tokens, `[…, n, n]`.
fn segment_sums(t: &Tape<'_>, steps: Var) -> Var {
    let n = t.dim(steps, -1);
    let x = t.tril(t.repeat(t.expand_dims(steps, &[-1]), n, -1), -1);
    t.cumsum(x, -2)
}
