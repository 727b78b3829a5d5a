//! Activation functions, with the borders of `mx.compile` that decide how many kernels they take.

use crate::graph::op::{Binary, Unary};
use crate::graph::tape::{Tape, Var};
use crate::model::DType;

/// `x * sigmoid(x)`, not fused by itself.
fn silu_steps(t: &Tape<'_>, x: Var) -> Var {
    t.mul(x, t.sigmoid(x))
}

/// `nn.silu`, one kernel.
pub fn silu(t: &Tape<'_>, x: Var) -> Var {
    let [y] = t.compiled(|t| [silu_steps(t, x)]);
    y
}

/// `swiglu(gate, x)`: `silu(gate) * x` in one kernel.
pub fn swiglu(t: &Tape<'_>, gate: Var, x: Var) -> Var {
    let [y] = t.compiled(|t| {
        let g = silu_steps(t, gate);
        [t.mul(g, x)]
    });
    y
}

/// `nn.silu(gate) * x`, in two kernels.
pub fn silu_gate(t: &Tape<'_>, gate: Var, x: Var) -> Var {
    t.mul(silu(t, gate), x)
}

/// `nn.relu`.
pub fn relu(t: &Tape<'_>, x: Var) -> Var {
    let [y] = t.compiled(|t| [t.binary(Binary::Maximum, x, 0i64)]);
    y
}

/// `nn.relu2`: the square of `relu`.
pub fn relu2(t: &Tape<'_>, x: Var) -> Var {
    let [y] = t.compiled(|t| {
        let r = t.binary(Binary::Maximum, x, 0i64);
        [t.unary(Unary::Square, r)]
    });
    y
}

fn gelu_steps(t: &Tape<'_>, x: Var) -> Var {
    let sum = t.add(t.unary(Unary::Erf, t.div(x, std::f64::consts::SQRT_2)), 1.0);
    t.div(t.mul(x, sum), 2.0)
}

/// `nn.gelu`, the exact form.
pub fn gelu(t: &Tape<'_>, x: Var) -> Var {
    let [y] = t.compiled(|t| [gelu_steps(t, x)]);
    y
}

fn gelu_approx_steps(t: &Tape<'_>, x: Var) -> Var {
    let half = t.mul(x, 0.5);
    let inner = t.add(x, t.mul(t.binary(Binary::Power, x, 3i64), 0.044_715));
    let tanh = t.unary(Unary::Tanh, t.mul(inner, (2.0 / std::f64::consts::PI).sqrt()));
    t.mul(half, t.add(tanh, 1.0))
}

/// `nn.gelu_approx`, the tanh form.
pub fn gelu_approx(t: &Tape<'_>, x: Var) -> Var {
    let [y] = t.compiled(|t| [gelu_approx_steps(t, x)]);
    y
}

/// `geglu(gate, x)` of the Gemma families: `gelu_approx(gate) * x` in one kernel.
pub fn geglu(t: &Tape<'_>, gate: Var, x: Var) -> Var {
    let [y] = t.compiled(|t| {
        let g = gelu_approx_steps(t, gate);
        [t.mul(g, x)]
    });
    y
}

/// `precise_swiglu(h, gate, x)`: in float32, cast back to the type of `h`.
pub fn precise_swiglu(t: &Tape<'_>, h: Var, gate: Var, x: Var) -> Var {
    let dtype = t.dtype(h);
    let [y] = t.compiled(|t| {
        let y = t.mul(silu_steps(t, t.astype(gate, DType::F32)), t.astype(x, DType::F32));
        [t.astype(y, dtype)]
    });
    y
}

/// The SiTU activation of Kimi K3: a gate and a linear part, both bounded by a tanh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Situ {
    /// Bound of the gate.
    pub beta: f64,
    /// Bound of the linear part, if it has one.
    pub linear_beta: Option<f64>,
}

impl Situ {
    /// `beta * tanh(gate / beta) * sigmoid(gate) * x`, one kernel in float32.
    pub fn apply(self, t: &Tape<'_>, gate: Var, x: Var) -> Var {
        let dtype = t.dtype(x);
        let [y] = t.compiled(|t| {
            let gate = t.astype(gate, DType::F32);
            let a = t.mul(bound(t, gate, self.beta), t.sigmoid(gate));
            let x = t.astype(x, DType::F32);
            let x = match self.linear_beta {
                Some(b) => bound(t, x, b),
                None => x,
            };
            let y = t.mul(a, x);
            [t.astype(y, dtype)]
        });
        y
    }
}

/// The clamped SwiGLU of DeepSeek-V4: `silu(min(gate, limit)) * clip(x, -limit, limit)` in one kernel.
pub fn limited_swiglu(t: &Tape<'_>, gate: Var, x: Var, limit: f64) -> Var {
    let [y] = t.compiled(|t| {
        let bounded = limit > 0.0;
        let gate = if bounded { t.binary(Binary::Minimum, gate, limit) } else { gate };
        let g = silu_steps(t, gate);
        let x = if bounded { t.clip(x, -limit, limit) } else { x };
        [t.mul(g, x)]
    });
    y
}

/// The clamped SwiGLU of DeepSeek-V4.1: both parts are bounded, in float32, before the fused kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// Bound; none when it is not above 0.
    pub limit: f64,
}

impl Clamp {
    /// `silu(min(gate, limit)) * clip(x, -limit, limit)`, cast back to the type of `x`.
    pub fn apply(self, t: &Tape<'_>, gate: Var, x: Var) -> Var {
        let dtype = t.dtype(x);
        let mut gate = t.astype(gate, DType::F32);
        let mut x = t.astype(x, DType::F32);
        if self.limit > 0.0 {
            gate = t.binary(Binary::Minimum, gate, self.limit);
            x = t.clip(x, -self.limit, self.limit);
        }
        t.astype(swiglu(t, gate, x), dtype)
    }
}

/// `limit * tanh(x / limit)`.
fn bound(t: &Tape<'_>, x: Var, limit: f64) -> Var {
    t.mul(t.unary(Unary::Tanh, t.div(x, limit)), limit)
}

/// `nn.softplus`: `logaddexp(x, 0)`; called inside compiled functions.
pub fn softplus(t: &Tape<'_>, x: Var) -> Var {
    t.binary(Binary::LogAddExp, x, 0i64)
}

/// `softcap * tanh(x / softcap)` in one kernel.
pub fn softcap(t: &Tape<'_>, cap: f64, x: Var) -> Var {
    let [y] = t.compiled(|t| [bound(t, x, cap)]);
    y
}

/// `swiglu_oai` of gpt-oss: `(clip(x, ±limit) + 1) * g * sigmoid(alpha * g)` with `g = min(gate, limit)`, in one kernel.
pub fn swiglu_oai(t: &Tape<'_>, gate: Var, x: Var, alpha: f64, limit: f64) -> Var {
    let [y] = t.compiled(|t| {
        let x = t.add(t.clip(x, -limit, limit), 1.0);
        let gate = t.binary(Binary::Minimum, gate, limit);
        let gated = t.mul(gate, t.sigmoid(t.mul(gate, alpha)));
        [t.mul(x, gated)]
    });
    y
}

/// `clamped_swiglu` of Step 3.5: `min(silu(gate), limit) * clip(x, ±limit)` in one kernel.
pub fn clamped_swiglu(t: &Tape<'_>, gate: Var, x: Var, limit: f64) -> Var {
    let [y] = t.compiled(|t| {
        let gate = t.binary(Binary::Minimum, silu_steps(t, gate), limit);
        let x = t.clip(x, -limit, limit);
        [t.mul(gate, x)]
    });
    y
}
