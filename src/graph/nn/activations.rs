//! Activation functions, with the borders of `mx.compile` that decide how many kernels they take.

use crate::graph::tape::Var;
use crate::model::DType;

/// `x * sigmoid(x)`, not fused by itself.
fn silu_steps(x: Var<'_>) -> Var<'_> {
    x * x.sigmoid()
}

/// `nn.silu`, one kernel.
pub fn silu(x: Var<'_>) -> Var<'_> {
    x.compiled(silu_steps)
}

/// `swiglu(gate, x)`: `silu(gate) * x` in one kernel.
pub fn swiglu<'t>(gate: Var<'t>, x: Var<'t>) -> Var<'t> {
    gate.compiled(|gate| silu_steps(gate) * x)
}

/// `nn.silu(gate) * x`, in two kernels.
pub fn silu_gate<'t>(gate: Var<'t>, x: Var<'t>) -> Var<'t> {
    silu(gate) * x
}

/// `nn.relu`.
pub fn relu(x: Var<'_>) -> Var<'_> {
    x.compiled(|x| x.maximum(0i64))
}

/// `nn.relu2`: the square of `relu`.
pub fn relu2(x: Var<'_>) -> Var<'_> {
    x.compiled(|x| x.maximum(0i64).square())
}

fn gelu_steps(x: Var<'_>) -> Var<'_> {
    let sum = (x / std::f64::consts::SQRT_2).erf() + 1.0;
    x * sum / 2.0
}

/// `nn.gelu`, the exact form.
pub fn gelu(x: Var<'_>) -> Var<'_> {
    x.compiled(gelu_steps)
}

/// `nn.gelu(gate) * x`, in two kernels.
pub fn gelu_gate<'t>(gate: Var<'t>, x: Var<'t>) -> Var<'t> {
    gelu(gate) * x
}

fn gelu_approx_steps(x: Var<'_>) -> Var<'_> {
    let half = x * 0.5;
    let inner = x + x.power(3i64) * 0.044_715;
    let tanh = (inner * (2.0 / std::f64::consts::PI).sqrt()).tanh();
    half * (tanh + 1.0)
}

/// `nn.gelu_approx`, the tanh form.
pub fn gelu_approx(x: Var<'_>) -> Var<'_> {
    x.compiled(gelu_approx_steps)
}

/// `geglu(gate, x)` of the Gemma families: `gelu_approx(gate) * x` in one kernel.
pub fn geglu<'t>(gate: Var<'t>, x: Var<'t>) -> Var<'t> {
    gate.compiled(|gate| gelu_approx_steps(gate) * x)
}

/// `precise_swiglu(h, gate, x)`: in float32, cast back to the type of `h`.
pub fn precise_swiglu<'t>(h: Var<'t>, gate: Var<'t>, x: Var<'t>) -> Var<'t> {
    let dtype = h.dtype();
    gate.compiled(|gate| (silu_steps(gate.astype(DType::F32)) * x.astype(DType::F32)).astype(dtype))
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
    pub fn apply<'t>(self, gate: Var<'t>, x: Var<'t>) -> Var<'t> {
        let dtype = x.dtype();
        gate.compiled(|gate| {
            let gate = gate.astype(DType::F32);
            let a = bound(gate, self.beta) * gate.sigmoid();
            let x = x.astype(DType::F32);
            let x = match self.linear_beta {
                Some(b) => bound(x, b),
                None => x,
            };
            (a * x).astype(dtype)
        })
    }
}

/// The clamped SwiGLU of DeepSeek-V4: `silu(min(gate, limit)) * clip(x, -limit, limit)` in one kernel.
pub fn limited_swiglu<'t>(gate: Var<'t>, x: Var<'t>, limit: f64) -> Var<'t> {
    gate.compiled(|gate| {
        let bounded = limit > 0.0;
        let gate = if bounded { gate.minimum(limit) } else { gate };
        let g = silu_steps(gate);
        let x = if bounded { x.clip(-limit, limit) } else { x };
        g * x
    })
}

/// The clamped SwiGLU of DeepSeek-V4.1: both parts are bounded, in float32, before the fused kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// Bound; none when it is not above 0.
    pub limit: f64,
}

impl Clamp {
    /// `silu(min(gate, limit)) * clip(x, -limit, limit)`, cast back to the type of `x`.
    pub fn apply<'t>(self, gate: Var<'t>, x: Var<'t>) -> Var<'t> {
        let dtype = x.dtype();
        let mut gate = gate.astype(DType::F32);
        let mut x = x.astype(DType::F32);
        if self.limit > 0.0 {
            gate = gate.minimum(self.limit);
            x = x.clip(-self.limit, self.limit);
        }
        swiglu(gate, x).astype(dtype)
    }
}

/// `limit * tanh(x / limit)`.
fn bound(x: Var<'_>, limit: f64) -> Var<'_> {
    (x / limit).tanh() * limit
}

/// `nn.softplus`: `logaddexp(x, 0)`; called inside compiled functions.
pub fn softplus(x: Var<'_>) -> Var<'_> {
    x.logaddexp(0i64)
}

/// `softcap * tanh(x / softcap)` in one kernel.
pub fn softcap(cap: f64, x: Var<'_>) -> Var<'_> {
    x.compiled(|x| bound(x, cap))
}

/// `swiglu_oai` of gpt-oss: `(clip(x, ±limit) + 1) * g * sigmoid(alpha * g)` with `g = min(gate, limit)`, in one kernel.
pub fn swiglu_oai<'t>(gate: Var<'t>, x: Var<'t>, alpha: f64, limit: f64) -> Var<'t> {
    gate.compiled(|gate| {
        let x = x.clip(-limit, limit) + 1.0;
        let gate = gate.minimum(limit);
        let gated = gate * (gate * alpha).sigmoid();
        x * gated
    })
}

/// `clamped_swiglu` of Step 3.5: `min(silu(gate), limit) * clip(x, ±limit)` in one kernel.
pub fn clamped_swiglu<'t>(gate: Var<'t>, x: Var<'t>, limit: f64) -> Var<'t> {
    gate.compiled(|gate| {
        let gate = silu_steps(gate).minimum(limit);
        let x = x.clip(-limit, limit);
        gate * x
    })
}
