//! The gated delta rule of Qwen3-Next and Qwen3.5: a convolution and a recurrence instead of attention.

use super::block::Mixer;
use crate::graph::prelude::*;

/// Dimensions of a gated delta layer.
#[derive(Clone, Copy, Debug)]
pub struct DeltaDims {
    /// Hidden size of the model.
    pub width: u64,
    /// Key (and query) heads.
    pub key_heads: u64,
    /// Value heads.
    pub value_heads: u64,
    /// Features per key head.
    pub key_dim: u64,
    /// Features per value head.
    pub value_dim: u64,
    /// Taps of the convolution.
    pub kernel: u64,
}

impl DeltaDims {
    fn keys(&self) -> u64 {
        self.key_heads * self.key_dim
    }

    fn values(&self) -> u64 {
        self.value_heads * self.value_dim
    }

    fn channels(&self) -> u64 {
        2 * self.keys() + self.values()
    }

    /// Refuses heads that do not fit each other.
    ///
    /// # Errors
    /// When the value heads are no multiple of the key heads.
    pub fn checked(self, c: &Config) -> Result<Self, ConfigError> {
        if self.key_heads == 0 || self.value_heads % self.key_heads != 0 {
            return Err(c.invalid("linear_num_value_heads", "a multiple of linear_num_key_heads"));
        }
        if self.kernel < 2 {
            return Err(c.invalid("linear_conv_kernel_dim", "a whole number of at least 2"));
        }
        Ok(self)
    }
}

/// The input projections, which differ between the two generations.
#[derive(Debug)]
enum Inputs {
    /// Qwen3-Next: `in_proj_qkvz` and `in_proj_ba`, interleaved by key head.
    Fused { qkvz: Linear, ba: Linear },
    /// Qwen3.5: `in_proj_qkv`, `in_proj_z`, `in_proj_b`, `in_proj_a`.
    Separate { qkv: Linear, z: Linear, b: Linear, a: Linear },
}

/// A gated delta layer, `linear_attn`.
#[derive(Debug)]
pub struct GatedDeltaNet {
    dims: DeltaDims,
    inputs: Inputs,
    conv: Conv1d,
    dt_bias: ModuleId,
    a_log: ModuleId,
    norm: RmsNorm,
    out: Linear,
}

/// What the input projections give: the mixed q, k, v for the convolution, the gate z, and b and a per value head.
struct Projected {
    mixed: Var,
    z: Var,
    b: Var,
    a: Var,
}

impl GatedDeltaNet {
    /// Declares the layer of Qwen3-Next.
    pub fn fused(p: &mut ParamBuilder, d: DeltaDims, eps: f64) -> Self {
        p.scope("linear_attn", |p| {
            let conv = Conv1d::depthwise(p, "conv1d", d.channels(), d.kernel, false);
            let qkvz = Linear::new(p, "in_proj_qkvz", d.width, 2 * (d.keys() + d.values()), false);
            let ba = Linear::new(p, "in_proj_ba", d.width, 2 * d.value_heads, false);
            let a_log = p.raw("A_log", &[d.value_heads]);
            Self::finish(p, d, eps, conv, Inputs::Fused { qkvz, ba }, a_log)
        })
    }

    /// Declares the layer of Qwen3.5, whose `A_log` stays float32.
    pub fn separate(p: &mut ParamBuilder, d: DeltaDims, eps: f64) -> Self {
        p.scope("linear_attn", |p| {
            let conv = Conv1d::depthwise(p, "conv1d", d.channels(), d.kernel, false);
            let inputs = Inputs::Separate {
                qkv: Linear::new(p, "in_proj_qkv", d.width, d.channels(), false),
                z: Linear::new(p, "in_proj_z", d.width, d.values(), false),
                b: Linear::new(p, "in_proj_b", d.width, d.value_heads, false),
                a: Linear::new(p, "in_proj_a", d.width, d.value_heads, false),
            };
            let a_log = p.raw_f32("A_log", &[d.value_heads]);
            Self::finish(p, d, eps, conv, inputs, a_log)
        })
    }

    fn finish(
        p: &mut ParamBuilder,
        dims: DeltaDims,
        eps: f64,
        conv: Conv1d,
        inputs: Inputs,
        a_log: ModuleId,
    ) -> Self {
        Self {
            dims,
            inputs,
            conv,
            dt_bias: p.raw("dt_bias", &[dims.value_heads]),
            a_log,
            norm: RmsNorm::new(p, "norm", dims.value_dim, eps),
            out: Linear::new(p, "out_proj", dims.values(), dims.width, false),
        }
    }

    fn project(&self, t: &Tape<'_>, x: Var) -> Projected {
        let d = &self.dims;
        let (rows, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        match &self.inputs {
            Inputs::Separate { qkv, z, b, a } => {
                let mixed = qkv.forward(t, x);
                let z = z.forward(t, x);
                let z = t.reshape(z, &[rows, n, d.value_heads as i64, d.value_dim as i64]);
                Projected { mixed, z, b: b.forward(t, x), a: a.forward(t, x) }
            }
            Inputs::Fused { qkvz, ba } => {
                let qkvz = qkvz.forward(t, x);
                let ba = ba.forward(t, x);
                let heads = d.key_heads as i64;
                let qkvz = t.reshape(qkvz, &[rows, n, heads, -1]);
                let ba = t.reshape(ba, &[rows, n, heads, -1]);
                let (k, per_key) = (d.key_dim, d.value_heads / d.key_heads);
                let at = [k, 2 * k, 2 * k + per_key * d.value_dim].map(|n| n as u32);
                let [q, k, v, z] = t.split(qkvz, &at, -1);
                let [b, a] = t.split(ba, &[per_key as u32], -1);
                let v = t.reshape(v, &[rows, n, -1, d.value_dim as i64]);
                let z = t.reshape(z, &[rows, n, -1, d.value_dim as i64]);
                let b = t.reshape(b, &[rows, n, d.value_heads as i64]);
                let a = t.reshape(a, &[rows, n, d.value_heads as i64]);
                let flat = [q, k, v].map(|x| t.reshape(x, &[rows, n, -1]));
                Projected { mixed: t.concat(&flat, -1), z, b, a }
            }
        }
    }

    /// The recurrence over queries, keys and values.
    fn recur(&self, t: &Tape<'_>, [q, k, v]: [Var; 3], p: &Projected, cache: &mut Cache) -> Var {
        let (q, k) = normalise_keys(t, q, k);
        let beta = t.sigmoid(p.b);
        let (a_log, dt_bias) = (t.weight(self.a_log), t.weight(self.dt_bias));
        let g = decay(t, a_log, p.a, dt_bias);
        delta_rule(t, [q, k, v, g, beta], cache, 1)
    }
}

/// `normalize_qk`: queries and keys of length 1, the readout scale folded into the queries.
pub fn normalise_keys(t: &Tape<'_>, q: Var, k: Var) -> (Var, Var) {
    let inverse = f64::from(t.dim(k, -1)).powf(-0.5);
    let q = t.mul(t.rms_norm(q, None, 1e-6 * inverse * inverse), inverse * inverse);
    let k = t.rms_norm(k, None, 1e-6 * inverse * inverse);
    (q, t.mul(k, inverse))
}

/// The gated delta rule over q, k, v, g and beta: one kernel over all tokens. State `slot` of the cache is the
/// recurrent state.
pub fn delta_rule(
    t: &Tape<'_>,
    [q, k, v, g, beta]: [Var; 5],
    cache: &mut Cache,
    slot: usize,
) -> Var {
    let shape = Shape::new(&[t.dim(q, 0), t.dim(v, 2), t.dim(v, 3), t.dim(q, 3)]);
    let state = cache.state(slot).unwrap_or_else(|| t.full(shape, 0.0, DType::F32));
    let (y_type, state_type) = ((t.shape(v), t.dtype(q)), (shape, t.dtype(state)));
    let (y, state) = t.kernel(Kernel::GatedDelta, &[q, k, v, g, beta, state], y_type, state_type);
    cache.set_state(t, slot, state);
    y
}

/// `compute_g`: the decay, one kernel.
pub fn decay(t: &Tape<'_>, a_log: Var, a: Var, dt_bias: Var) -> Var {
    let [g] = t.compiled(|t| {
        let rate = t.neg(t.exp(t.astype(a_log, DType::F32)));
        let product = t.mul(rate, activations::softplus(t, t.add(a, dt_bias)));
        [t.exp(product)]
    });
    g
}

/// `compute_lower_bound_g`: the decay that does not fall below `exp(bound)`, one kernel.
pub fn bounded_decay(t: &Tape<'_>, a_log: Var, a: Var, dt_bias: Var, bound: f64) -> Var {
    let [g] = t.compiled(|t| {
        let rate = t.exp(t.astype(a_log, DType::F32));
        let product = t.mul(rate, t.add(t.astype(a, DType::F32), dt_bias));
        let scaled = t.mul(t.sigmoid(product), bound);
        [t.exp(scaled)]
    });
    g
}

impl Mixer for GatedDeltaNet {
    fn mix(&self, t: &Tape<'_>, x: Var, _: Mask, cache: &mut Cache) -> Var {
        let d = self.dims;
        let (rows, n) = (t.dim(x, 0), t.dim(x, 1));
        let p = self.project(t, x);
        let keep = d.kernel as u32 - 1;
        let past = match cache.state(0) {
            Some(state) => state,
            None => {
                let dtype = t.dtype(x);
                t.full(Shape::new(&[rows, keep, d.channels() as u32]), 0.0, dtype)
            }
        };
        let input = t.concat(&[past, p.mixed], 1);
        cache.set_state(t, 0, t.contiguous(t.last(input, 1, keep)));
        let y = activations::silu(t, self.conv.forward(t, input));
        let at = [d.keys() as u32, 2 * d.keys() as u32];
        let [q, k, v] = t.split(y, &at, -1);
        let (b, n) = (i64::from(rows), i64::from(n));
        let q = t.reshape(q, &[b, n, d.key_heads as i64, d.key_dim as i64]);
        let k = t.reshape(k, &[b, n, d.key_heads as i64, d.key_dim as i64]);
        let v = t.reshape(v, &[b, n, d.value_heads as i64, d.value_dim as i64]);
        let y = self.recur(t, [q, k, v], &p, cache);
        let y = activations::precise_swiglu(t, y, p.z, self.norm.forward(t, y));
        self.out.forward(t, t.reshape(y, &[b, n, -1]))
    }
}
