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

    /// Reads heads, features per head, groups, state and taps of the convolution under these keys, all of them required.
    ///
    /// # Errors
    /// When a key is missing, or as [`Mamba2Dims::checked`].
    pub fn read(c: &Config, width: u64, keys: [&str; 5]) -> Result<Self, ConfigError> {
        let [heads, head_dim, groups, state, kernel] = keys;
        let (count, dim) = (c.positive(heads)?, c.positive(head_dim)?);
        let dims = Self {
            width,
            inner: count * dim,
            heads: count,
            head_dim: dim,
            groups: c.positive(groups)?,
            state: c.positive(state)?,
            kernel: c.positive(kernel)?,
        };
        dims.checked(c, groups, kernel)
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
    /// The same, normalized per group of features.
    Grouped(ModuleId, f64, u64),
    /// `silu(gate) * norm(y)`.
    Before(ModuleId, f64),
    /// `silu(gate) * y`.
    None,
}

impl GatedNorm {
    fn forward<'t>(self, y: Var<'t>, gate: Var<'t>) -> Var<'t> {
        let t = y.tape();
        match self {
            Self::None => activations::swiglu(gate, y),
            Self::Before(weight, eps) => {
                let y = y.rms_norm(Some(t.weight(weight)), eps);
                activations::swiglu(gate, y)
            }
            Self::After(weight, eps) => {
                activations::swiglu(gate, y).rms_norm(Some(t.weight(weight)), eps)
            }
            Self::Grouped(weight, eps, group) => {
                let y = activations::swiglu(gate, y).unflatten(-1, &[-1, group as i64]);
                t.weight(weight) * y.rms_norm(None, eps).flatten(-2, -1)
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
    fn mix<'t>(&self, x: Var<'t>, _: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let d = &self.dims;
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let projected = self.input.forward(x);
        let at = [d.inner as u32, (d.inner + d.channels()) as u32];
        let [gate, x, dt] = projected.split(&at, -1);
        let x = causal_conv(&self.conv, x, d.kernel, cache);
        let at = [d.inner as u32, (d.inner + d.groups * d.state) as u32];
        let [x, in_b, in_c] = x.split(&at, -1);
        let y = self.recurrence.run([x, in_b, in_c, dt], cache);
        let y = y.reshape(&[b, n, d.inner as i64]);
        self.out.forward(self.norm.forward(y, gate))
    }
}

/// A causal depth-wise convolution and SiLU; state 0 of the cache holds the last inputs.
pub fn causal_conv<'t>(conv: &Conv1d, x: Var<'t>, kernel: u64, cache: &mut Cache) -> Var<'t> {
    let keep = (kernel - 1) as u32;
    let input = match cache.state(x.tape(), 0) {
        Some(past) => concat([past, x], 1),
        None if x.tape().is_training() => x.pad(1, keep, 0),
        None => {
            let zeros = x.tape().full(x.shape().with(1, keep), 0.0, x.dtype());
            concat([zeros, x], 1)
        }
    };
    cache.set_state(0, input.last(1, keep));
    activations::silu(conv.forward(input))
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
    pub fn run<'t>(&self, [x, b, c, dt]: [Var<'t>; 4], cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let d = &self.dims;
        let (rows, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let x = x.reshape(&[rows, n, d.heads as i64, d.head_dim as i64]);
        let b = b.reshape(&[rows, n, d.groups as i64, d.state as i64]);
        let c = c.reshape(&[rows, n, d.groups as i64, d.state as i64]);
        let (a_log, skip) = (t.weight(self.a_log), t.weight(self.d));
        let dt = self.time_step(dt);
        let state = cache.state(t, 1);
        let (y, state) = match state {
            Some(state) if n == 1 => {
                let (shape, state_type) = (x.shape(), (state.shape(), state.dtype()));
                let inputs = [x, a_log, b, c, skip, dt, state];
                t.kernel(Kernel::SsmUpdate, &inputs, (shape, x.dtype()), state_type)
            }
            _ => self.chunks([x, b, c, dt], a_log, skip, state),
        };
        cache.set_state(1, state);
        y
    }

    /// `compute_dt`: one compiled function.
    fn time_step<'t>(&self, dt: Var<'t>) -> Var<'t> {
        let bias = dt.tape().weight(self.dt_bias);
        let [low, high] = self.limit;
        dt.compiled(|dt| activations::softplus(dt.astype(DType::F32) + bias).clip(low, high))
    }

    /// `ssm_attn`: the recurrence as matrix products, chunk by chunk.
    fn chunks<'t>(
        &self,
        [x, b, c, dt]: [Var<'t>; 4],
        a_log: Var<'t>,
        skip: Var<'t>,
        mut state: Option<Var<'t>>,
    ) -> (Var<'t>, Var<'t>) {
        let heads = self.dims.heads as i64;
        let (rows, n) = (i64::from(x.dim(0)), x.dim(1));
        let a = -a_log.exp().astype(DType::F32);
        let dta = dt * a.reshape(&[1, 1, -1]);
        let dtx = dt.reshape(&[rows, i64::from(n), heads, 1]) * x;
        let mut parts = Vec::new();
        let mut start = 0;
        while start < n {
            let end = start.saturating_add(CHUNK).min(n);
            let [dtx, dta, b, c] = [dtx, dta, b, c].map(|v| v.slice(1, start, end));
            let (y, next) = self.chunk([dtx, dta, b, c], state);
            parts.push(y.astype(x.dtype()));
            state = Some(next);
            start = end;
        }
        let y = x.tape().concat(&parts, 1);
        let skip = x * skip.reshape(&[1, 1, heads, 1]);
        (y + skip, state.unwrap_or(y))
    }

    /// One chunk: outputs in float32 and the next state.
    fn chunk<'t>(
        &self,
        [dtx, dta, b, c]: [Var<'t>; 4],
        state: Option<Var<'t>>,
    ) -> (Var<'t>, Var<'t>) {
        let repeats = (self.dims.heads / self.dims.groups) as u32;
        let b = b.transpose(&[0, 2, 3, 1]);
        let cb = c.swapaxes(1, 2).matmul(b).repeat(repeats, 1);
        let decay = segment_sums(dta.swapaxes(1, 2)).exp();
        let y = (cb * decay).tril(0).matmul(dtx.swapaxes(1, 2));
        let mut y = y.swapaxes(1, 2);

        let decay = decay.last(2, 1).transpose(&[0, 3, 1, 2]);
        let b = b.repeat(repeats, 1).swapaxes(2, 3);
        let decayed = (dtx * decay).swapaxes(1, 2).swapaxes(2, 3);
        let mut next = decayed.matmul(b);
        if let Some(state) = state {
            let total = dta.cumsum(-2).exp();
            let n = total.dim(1);
            let last = total.at(1, n.saturating_sub(1)).expand_dims(&[-2, -1]);
            next = next + last * state;
            let past = self.carried(c, state);
            y = y + total.expand_dims(&[-1]) * past;
        }
        (y, next)
    }

    /// What the state before the chunk gives for every token.
    fn carried<'t>(&self, c: Var<'t>, state: Var<'t>) -> Var<'t> {
        let d = &self.dims;
        let (rows, n) = (i64::from(c.dim(0)), i64::from(c.dim(1)));
        let (groups, size) = (d.groups as i64, d.state as i64);
        let repeats = (d.heads / d.groups) as i64;
        let c = c.reshape(&[rows, n, groups, 1, size, 1]);
        let state = state.reshape(&[rows, 1, groups, repeats, d.head_dim as i64, size]);
        state.matmul(c).squeeze(&[-1]).flatten(2, 3)
    }
}

/// `segsum`: sums of the steps between every pair of tokens, `[…, n, n]`.
fn segment_sums(steps: Var<'_>) -> Var<'_> {
    let n = steps.dim(-1);
    steps.expand_dims(&[-1]).repeat(n, -1).tril(-1).cumsum(-2)
}
