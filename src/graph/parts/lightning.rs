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
    pub fn forward(&self, t: &Tape<'_>, x: Var, cache: &mut Cache, offset: u32) -> Var {
        let h = self.settings.heads;
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        let qkv = t.reshape(self.qkv.forward(t, x), &[b, n, 3 * h.query as i64, h.dim as i64]);
        let at = [h.query as u32, 2 * h.query as u32];
        let [q, k, v] = t.split(qkv, &at, 2);
        let [mut q, mut k, v] = [q, k, v].map(|x| t.transpose(x, &[0, 2, 1, 3]));
        if let Some((query, key)) = &self.norms {
            (q, k) = (query.forward(t, q), key.forward(t, k));
        }
        let rope = &self.settings.rope;
        let (q, k) = (rope.forward(t, q, offset), rope.forward(t, k, offset));
        let g = t.table(&self.decay);
        let state = cache.state(0);
        let (y, state) = match self.settings.recurrence {
            LightningRecurrence::Steps => self.steps(t, [q, k, v], g, state),
            LightningRecurrence::Chunks if n == 1 => self.one_step(t, [q, k, v], g, state),
            LightningRecurrence::Chunks => self.chunks(t, [q, k, v], g, state),
        };
        cache.set_state(t, 0, state);
        let y = self.normalise(t, t.reshape(t.transpose(y, &[0, 2, 1, 3]), &[b, n, -1]));
        let y = t.mul(y, t.sigmoid(self.gate.forward(t, x)));
        self.out.forward(t, y)
    }

    fn scale(&self) -> f64 {
        (self.settings.heads.dim as f64).powf(-0.5)
    }

    /// `GroupRMSNorm`: a norm over groups of features.
    fn normalise(&self, t: &Tape<'_>, y: Var) -> Var {
        let y = t.unflatten(y, -1, &[self.settings.norm_groups as i64, -1]);
        t.mul(t.weight(self.out_norm), t.flatten(t.rms_norm(y, None, self.eps), -2, -1))
    }

    /// Token by token.
    fn steps(&self, t: &Tape<'_>, [q, k, v]: [Var; 3], g: Var, state: Option<Var>) -> (Var, Var) {
        let tokens = t.dim(q, 2);
        if u64::from(tokens).saturating_mul(self.layers) > MAX_STEPS {
            let failed = t.fail(format!(
                "mlx-lm runs this model's recurrence token by token; {tokens} tokens in {} layers are more steps \
                 than mlxplan traces ({MAX_STEPS}); use a smaller prefill step",
                self.layers
            ));
            return (failed, failed);
        }
        let decay = t.astype(t.expand_dims(t.exp(g), &[1, 2]), t.dtype(q));
        let q = t.mul(q, self.scale());
        let mut state = state;
        let mut outputs = Vec::new();
        for i in 0..tokens {
            let [qi, ki, vi] = [q, k, v].map(|x| t.slice(x, 2, i, i + 1));
            let update = t.matmul(t.transpose(ki, &[0, 1, 3, 2]), vi);
            let next = match state {
                None => update,
                Some(h) => t.add(t.mul(h, decay), update),
            };
            outputs.push(t.matmul(qi, next));
            state = Some(next);
        }
        let y = t.concat(&outputs, 2);
        (y, state.unwrap_or(y))
    }

    fn state(&self, t: &Tape<'_>, q: Var, v: Var, state: Option<Var>) -> Var {
        state.unwrap_or_else(|| {
            let shape = Shape::new(&[t.dim(q, 0), t.dim(q, 1), t.dim(q, 3), t.dim(v, 3)]);
            t.full(shape, 0.0, DType::F32)
        })
    }

    /// One token, in one compiled function.
    fn one_step(
        &self,
        t: &Tape<'_>,
        [q, k, v]: [Var; 3],
        g: Var,
        state: Option<Var>,
    ) -> (Var, Var) {
        let state = self.state(t, q, v, state);
        let decay = t.expand_dims(t.exp(g), &[1, 2]);
        let q = t.mul(q, self.scale());
        let dtype = t.dtype(q);
        let [y, next] = t.compiled(|t| {
            let next = t.add(t.mul(state, decay), t.matmul(t.transpose(k, &[0, 1, 3, 2]), v));
            let y = t.matmul(q, next);
            [t.astype(y, dtype), next]
        });
        (y, next)
    }

    /// In chunks: attention with decaying weights within a chunk, and the state carried from chunk to chunk.
    fn chunks(&self, t: &Tape<'_>, [q, k, v]: [Var; 3], g: Var, state: Option<Var>) -> (Var, Var) {
        let (dtype, length) = (t.dtype(q), t.dim(q, 2));
        let heads = t.dim(q, 1);
        let mut state = self.state(t, q, v, state);
        let chunk = CHUNK.min(length).max(1);
        let count = length.div_ceil(chunk);
        let total = count.saturating_mul(chunk);
        let valid = t.binary(Binary::Less, t.arange(0, total), i64::from(length));
        let valid = t.expand_dims(t.astype(valid, DType::F32), &[0]);
        let parts = [i64::from(count), i64::from(chunk)];
        let [q, k, v] = [q, k, v].map(|x| {
            let x = if total > length { t.pad(x, 2, 0, total - length) } else { x };
            t.unflatten(x, 2, &parts)
        });
        let v = t.astype(v, DType::F32);
        let valid = t.expand_dims(t.unflatten(valid, 1, &parts), &[1]);
        let rank = t.cumsum(valid, -1);
        let whole = t.last(rank, -1, 1);
        let gh = t.reshape(g, &[1, i64::from(heads), 1, 1]);
        let centre = 0.5 * f64::from(chunk);

        let e = t.mul(gh, t.sub(rank, centre));
        let grown = t.mul(t.mul(t.exp(e), self.scale()), valid);
        let shrunk = t.mul(t.exp(t.neg(e)), valid);
        let q = t.mul(q, t.expand_dims(grown, &[-1]));
        let k = t.mul(k, t.expand_dims(shrunk, &[-1]));
        let scores = t.tril(t.matmul(q, t.swapaxes(k, -1, -2)), 0);
        let intra = t.matmul(scores, v);
        let carry = t.matmul(t.swapaxes(k, -1, -2), v);
        let decay = t.exp(t.mul(gh, t.sub(whole, centre)));
        let decay = t.expand_dims(decay, &[-1]);
        let kept = t.expand_dims(t.exp(t.mul(gh, whole)), &[-1]);
        let mut cross = Vec::new();
        for i in 0..count {
            cross.push(t.matmul(t.at(q, 2, i), state));
            let (kept, carry) = (t.at(kept, 2, i), t.at(carry, 2, i));
            let decay = t.at(decay, 2, i);
            state = t.add(t.mul(kept, state), t.mul(carry, decay));
        }
        let cross = t.stack(&cross, 2);
        let scale = t.reshape(t.exp(t.mul(g, centre)), &[1, i64::from(heads), 1, 1, 1]);
        let y = t.astype(t.add(intra, t.mul(cross, scale)), dtype);
        let y = t.flatten(y, 2, 3);
        (t.slice(y, 2, 0, length), state)
    }
}
