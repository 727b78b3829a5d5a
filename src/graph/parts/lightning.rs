//! Lightning attention of the Bailing models: a recurrence `h = h * exp(g) + k^T v` with a constant decay per head.

use super::attention::Heads;
use super::outline::Outline;
use crate::graph::prelude::*;

/// Steps of the recurrence in one traced call of [`LightningRecurrence::Steps`]; more would only cost memory here.
const MAX_STEPS: u64 = 1 << 19;
/// Tokens that [`LightningRecurrence::Chunks`] handles at once.
const CHUNK: u32 = 128;

/// How the recurrence is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LightningRecurrence {
    /// Token by token, with the state in the type of the activations (`bailing_moe_linear`).
    Steps,
    /// In chunks of up to 128 tokens, with the state in float32 (`bailing_hybrid`).
    Chunks,
}

/// Settings of the layers.
#[derive(Clone, Debug)]
pub struct LightningSettings {
    heads: Heads,
    qkv_bias: bool,
    bias: bool,
    norms: bool,
    norm_groups: u64,
    rope: RopeModule,
    recurrence: LightningRecurrence,
}

impl LightningSettings {
    /// Reads the biases and the groups of the output norm.
    ///
    /// # Errors
    /// When a value is missing or out of range.
    pub fn read(
        c: &Config,
        heads: Heads,
        norms: bool,
        rope: RopeModule,
        recurrence: LightningRecurrence,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            heads,
            qkv_bias: c.bool_or("use_qkv_bias", false)?,
            bias: c.bool_or("use_bias", false)?,
            norms,
            norm_groups: c.positive("group_norm_size")?,
            rope,
            recurrence,
        })
    }
}

/// A layer of lightning attention, `attention`.
#[derive(Debug)]
pub struct LightningAttention {
    qkv: Linear,
    out: Linear,
    gate: Linear,
    out_norm: ModuleId,
    norms: Option<(RmsNorm, RmsNorm)>,
    settings: LightningSettings,
    eps: f64,
    decay: FrequencyTable,
    layers: u64,
}

impl LightningAttention {
    /// Declares layer `i`.
    pub fn new(p: &mut ParamBuilder, o: &Outline, s: &LightningSettings, i: u64) -> Self {
        let h = s.heads;
        let features = h.query * h.dim;
        // The two generations count the layers differently.
        let place =
            if s.recurrence == LightningRecurrence::Steps { i.saturating_sub(1) } else { i };
        let factor = 1.0 - place as f64 / (o.layers.saturating_sub(1).max(1)) as f64 + 1e-5;
        p.scope("attention", |p| Self {
            qkv: Linear::new(p, "query_key_value", o.width, 3 * features, s.qkv_bias),
            out: Linear::new(p, "dense", features, o.width, s.bias),
            gate: Linear::new(p, "g_proj", o.width, features, false),
            out_norm: p.raw("g_norm.weight", &[features]),
            norms: s.norms.then(|| {
                let key = RmsNorm::new(p, "key_layernorm", h.dim, o.eps);
                (RmsNorm::new(p, "query_layernorm", h.dim, o.eps), key)
            }),
            settings: s.clone(),
            eps: o.eps,
            decay: FrequencyTable::Decay { heads: u32::try_from(h.query).unwrap_or(0), factor },
            layers: o.layers,
        })
    }

    /// The output for `x`, whose first token stands at `offset`; state 0 of the cache is that of the recurrence.
    pub fn forward<'t>(&self, x: Var<'t>, cache: &mut Cache, offset: u32) -> Var<'t> {
        let h = self.settings.heads;
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let qkv = self.qkv.forward(x).reshape(&[b, n, 3 * h.query as i64, h.dim as i64]);
        let at = [h.query as u32, 2 * h.query as u32];
        let [q, k, v] = qkv.split(&at, 2);
        let [mut q, mut k, v] = [q, k, v].map(|x| x.transpose(&[0, 2, 1, 3]));
        if let Some((query, key)) = &self.norms {
            (q, k) = (query.forward(q), key.forward(k));
        }
        let rope = &self.settings.rope;
        let (q, k) = (rope.forward(q, offset), rope.forward(k, offset));
        let g = x.tape().table(&self.decay);
        let state = cache.state(x.tape(), 0);
        let (y, state) = match self.settings.recurrence {
            LightningRecurrence::Steps => self.steps([q, k, v], g, state),
            LightningRecurrence::Chunks if n == 1 => self.one_step([q, k, v], g, state),
            LightningRecurrence::Chunks => self.chunks([q, k, v], g, state),
        };
        cache.set_state(0, state);
        let y = self.normalize(y.transpose(&[0, 2, 1, 3]).reshape(&[b, n, -1]));
        let y = y * self.gate.forward(x).sigmoid();
        self.out.forward(y)
    }

    fn scale(&self) -> f64 {
        (self.settings.heads.dim as f64).powf(-0.5)
    }

    /// `GroupRMSNorm`: a norm over groups of features.
    fn normalize<'t>(&self, y: Var<'t>) -> Var<'t> {
        let y = y.unflatten(-1, &[self.settings.norm_groups as i64, -1]);
        y.tape().weight(self.out_norm) * y.rms_norm(None, self.eps).flatten(-2, -1)
    }

    /// Token by token.
    fn steps<'t>(
        &self,
        [q, k, v]: [Var<'t>; 3],
        g: Var<'t>,
        state: Option<Var<'t>>,
    ) -> (Var<'t>, Var<'t>) {
        let t = q.tape();
        let tokens = q.dim(2);
        if u64::from(tokens).saturating_mul(self.layers) > MAX_STEPS {
            let failed = t.fail(format!(
                "mlx-lm runs this model's recurrence token by token; {tokens} tokens in {} layers are more steps \
                 than mlxplan traces ({MAX_STEPS}); use a smaller prefill step",
                self.layers
            ));
            return (failed, failed);
        }
        let decay = g.exp().expand_dims(&[1, 2]).astype(q.dtype());
        let q = q * self.scale();
        let mut state = state;
        let mut outputs = Vec::new();
        for i in 0..tokens {
            let [qi, ki, vi] = [q, k, v].map(|x| x.slice(2, i, i + 1));
            let update = ki.transpose(&[0, 1, 3, 2]).matmul(vi);
            let next = match state {
                None => update,
                Some(h) => h * decay + update,
            };
            outputs.push(qi.matmul(next));
            state = Some(next);
        }
        let y = t.concat(&outputs, 2);
        (y, state.unwrap_or(y))
    }

    fn state<'t>(
        &self,
        t: &'t Tape<'t>,
        q: Var<'t>,
        v: Var<'t>,
        state: Option<Var<'t>>,
    ) -> Var<'t> {
        state.unwrap_or_else(|| {
            let shape = Shape::new(&[q.dim(0), q.dim(1), q.dim(3), v.dim(3)]);
            t.full(shape, 0.0, DType::F32)
        })
    }

    /// One token, in one compiled function.
    fn one_step<'t>(
        &self,
        [q, k, v]: [Var<'t>; 3],
        g: Var<'t>,
        state: Option<Var<'t>>,
    ) -> (Var<'t>, Var<'t>) {
        let t = q.tape();
        let state = self.state(t, q, v, state);
        let decay = g.exp().expand_dims(&[1, 2]);
        let q = q * self.scale();
        let dtype = q.dtype();
        let [y, next] = state.compiled(|state| {
            let next = state * decay + k.transpose(&[0, 1, 3, 2]).matmul(v);
            let y = q.matmul(next);
            [y.astype(dtype), next]
        });
        (y, next)
    }

    /// In chunks: attention with decaying weights within a chunk, and the state carried from chunk to chunk.
    fn chunks<'t>(
        &self,
        [q, k, v]: [Var<'t>; 3],
        g: Var<'t>,
        state: Option<Var<'t>>,
    ) -> (Var<'t>, Var<'t>) {
        let t = q.tape();
        let (dtype, length) = (q.dtype(), q.dim(2));
        let heads = q.dim(1);
        let mut state = self.state(t, q, v, state);
        let chunk = CHUNK.min(length).max(1);
        let count = length.div_ceil(chunk);
        let total = count.saturating_mul(chunk);
        let valid = t.arange(0, total).less(i64::from(length));
        let valid = valid.astype(DType::F32).expand_dims(&[0]);
        let parts = [i64::from(count), i64::from(chunk)];
        let [q, k, v] = [q, k, v].map(|x| {
            let x = if total > length { x.pad(2, 0, total - length) } else { x };
            x.unflatten(2, &parts)
        });
        let v = v.astype(DType::F32);
        let valid = valid.unflatten(1, &parts).expand_dims(&[1]);
        let rank = valid.cumsum(-1);
        let whole = rank.last(-1, 1);
        let gh = g.reshape(&[1, i64::from(heads), 1, 1]);
        let center = 0.5 * f64::from(chunk);

        let e = gh * (rank - center);
        let grown = e.exp() * self.scale() * valid;
        let shrunk = (-e).exp() * valid;
        let q = q * grown.expand_dims(&[-1]);
        let k = k * shrunk.expand_dims(&[-1]);
        let scores = q.matmul(k.swapaxes(-1, -2)).tril(0);
        let intra = scores.matmul(v);
        let carry = k.swapaxes(-1, -2).matmul(v);
        let decay = (gh * (whole - center)).exp().expand_dims(&[-1]);
        let kept = (gh * whole).exp().expand_dims(&[-1]);
        let mut cross = Vec::new();
        for i in 0..count {
            cross.push(q.at(2, i).matmul(state));
            let (kept, carry) = (kept.at(2, i), carry.at(2, i));
            let decay = decay.at(2, i);
            state = kept * state + carry * decay;
        }
        let cross = t.stack(&cross, 2);
        let scale = (g * center).exp().reshape(&[1, i64::from(heads), 1, 1, 1]);
        let y = (intra + cross * scale).astype(dtype).flatten(2, 3);
        (y.slice(2, 0, length), state)
    }
}
