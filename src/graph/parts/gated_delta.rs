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
    /// Reads the `linear_…` keys, all of them required.
    ///
    /// # Errors
    /// When a key is missing or the heads do not fit each other.
    pub fn read(c: &Config, width: u64) -> Result<Self, ConfigError> {
        let out = Self {
            width,
            key_heads: c.positive("linear_num_key_heads")?,
            value_heads: c.positive("linear_num_value_heads")?,
            key_dim: c.positive("linear_key_head_dim")?,
            value_dim: c.positive("linear_value_head_dim")?,
            kernel: c.positive("linear_conv_kernel_dim")?,
        };
        out.checked(c)
    }

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
struct Projected<'t> {
    mixed: Var<'t>,
    z: Var<'t>,
    b: Var<'t>,
    a: Var<'t>,
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

    fn project<'t>(&self, x: Var<'t>) -> Projected<'t> {
        let d = &self.dims;
        let (rows, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        match &self.inputs {
            Inputs::Separate { qkv, z, b, a } => {
                let mixed = qkv.forward(x);
                let z = z.forward(x).reshape(&[rows, n, d.value_heads as i64, d.value_dim as i64]);
                Projected { mixed, z, b: b.forward(x), a: a.forward(x) }
            }
            Inputs::Fused { qkvz, ba } => {
                let qkvz = qkvz.forward(x);
                let ba = ba.forward(x);
                let heads = d.key_heads as i64;
                let qkvz = qkvz.reshape(&[rows, n, heads, -1]);
                let ba = ba.reshape(&[rows, n, heads, -1]);
                let (k, per_key) = (d.key_dim, d.value_heads / d.key_heads);
                let at = [k, 2 * k, 2 * k + per_key * d.value_dim].map(|n| n as u32);
                let [q, k, v, z] = qkvz.split(&at, -1);
                let [b, a] = ba.split(&[per_key as u32], -1);
                let v = v.reshape(&[rows, n, -1, d.value_dim as i64]);
                let z = z.reshape(&[rows, n, -1, d.value_dim as i64]);
                let b = b.reshape(&[rows, n, d.value_heads as i64]);
                let a = a.reshape(&[rows, n, d.value_heads as i64]);
                let flat = [q, k, v].map(|x| x.reshape(&[rows, n, -1]));
                Projected { mixed: x.tape().concat(&flat, -1), z, b, a }
            }
        }
    }

    /// The recurrence over queries, keys and values.
    fn recur<'t>(&self, [q, k, v]: [Var<'t>; 3], p: &Projected<'t>, cache: &mut Cache) -> Var<'t> {
        let t = q.tape();
        let (q, k) = normalize_keys(q, k);
        let beta = p.b.sigmoid();
        let (a_log, dt_bias) = (t.weight(self.a_log), t.weight(self.dt_bias));
        let g = decay(a_log, p.a, dt_bias);
        delta_rule([q, k, v, g, beta], cache, 1)
    }
}

/// `normalize_qk`: queries and keys of length 1, the readout scale folded into the queries.
pub fn normalize_keys<'t>(q: Var<'t>, k: Var<'t>) -> (Var<'t>, Var<'t>) {
    let inverse = f64::from(k.dim(-1)).powf(-0.5);
    let q = q.rms_norm(None, 1e-6 * inverse * inverse) * (inverse * inverse);
    let k = k.rms_norm(None, 1e-6 * inverse * inverse);
    (q, k * inverse)
}

/// The gated delta rule over q, k, v, g and beta: one kernel over all tokens. State `slot` of the cache is the
/// recurrent state.
pub fn delta_rule<'t>([q, k, v, g, beta]: [Var<'t>; 5], cache: &mut Cache, slot: usize) -> Var<'t> {
    let t = q.tape();
    let shape = Shape::new(&[q.dim(0), v.dim(2), v.dim(3), q.dim(3)]);
    let state = cache.state(t, slot).unwrap_or_else(|| t.full(shape, 0.0, DType::F32));
    if t.is_training() {
        return delta_steps([q, k, v, g, beta], state);
    }
    let (y_type, state_type) = ((v.shape(), q.dtype()), (shape, state.dtype()));
    let (y, state) = t.kernel(Kernel::GatedDelta, &[q, k, v, g, beta, state], y_type, state_type);
    cache.set_state(slot, state);
    y
}

/// `gated_delta_ops`: the same in plain operations, token by token, as in training.
fn delta_steps<'t>([q, k, v, g, beta]: [Var<'t>; 5], mut state: Var<'t>) -> Var<'t> {
    let repeats = v.dim(2) / q.dim(2).max(1);
    let (q, k) = (q.repeat(repeats, -2), k.repeat(repeats, -2));
    let mut all = Vec::with_capacity(q.dim(1) as usize);
    for i in 0..q.dim(1) {
        let [q, k, v, g, beta] = [q, k, v, g, beta].map(|x| x.at(1, i));
        let decay =
            if g.shape().rank() == 2 { g.expand_dims(&[-2, -1]) } else { g.expand_dims(&[-2]) };
        state = state * decay;
        let seen = (state * k.expand_dims(&[-2])).sum(-1, false);
        let delta = (v - seen) * beta.expand_dims(&[-1]);
        state = state + k.expand_dims(&[-2]) * delta.expand_dims(&[-1]);
        let y = (state * q.expand_dims(&[-2])).sum(-1, false);
        all.push(y.astype(q.dtype()));
    }
    q.tape().stack(&all, 1)
}

/// `compute_g`: the decay, one kernel.
pub fn decay<'t>(a_log: Var<'t>, a: Var<'t>, dt_bias: Var<'t>) -> Var<'t> {
    a_log.compiled(|a_log| {
        ((-a_log.astype(DType::F32).exp()) * activations::softplus(a + dt_bias)).exp()
    })
}

/// `compute_lower_bound_g`: the decay that does not fall below `exp(bound)`, one kernel.
pub fn bounded_decay<'t>(a_log: Var<'t>, a: Var<'t>, dt_bias: Var<'t>, bound: f64) -> Var<'t> {
    a_log.compiled(|a_log| {
        let rate = a_log.astype(DType::F32).exp();
        ((rate * (a.astype(DType::F32) + dt_bias)).sigmoid() * bound).exp()
    })
}

impl Mixer for GatedDeltaNet {
    fn mix<'t>(&self, x: Var<'t>, _: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let d = self.dims;
        let (rows, n) = (x.dim(0), x.dim(1));
        let p = self.project(x);
        let keep = d.kernel as u32 - 1;
        let past = match cache.state(x.tape(), 0) {
            Some(state) => state,
            None => {
                let dtype = x.dtype();
                x.tape().full(Shape::new(&[rows, keep, d.channels() as u32]), 0.0, dtype)
            }
        };
        let input = concat([past, p.mixed], 1);
        cache.set_state(0, input.last(1, keep).contiguous());
        let y = activations::silu(self.conv.forward(input));
        let at = [d.keys() as u32, 2 * d.keys() as u32];
        let [q, k, v] = y.split(&at, -1);
        let (b, n) = (i64::from(rows), i64::from(n));
        let q = q.reshape(&[b, n, d.key_heads as i64, d.key_dim as i64]);
        let k = k.reshape(&[b, n, d.key_heads as i64, d.key_dim as i64]);
        let v = v.reshape(&[b, n, d.value_heads as i64, d.value_dim as i64]);
        let y = self.recur([q, k, v], &p, cache);
        let y = activations::precise_swiglu(y, p.z, self.norm.forward(y));
        self.out.forward(y.reshape(&[b, n, -1]))
    }
}
