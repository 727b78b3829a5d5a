//! RWKV-7: token shift, a matrix-valued recurrence with a decay per feature, and a squared-ReLU MLP.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let count = layer_count(c)?;
    let s = Settings::read(c)?;
    let o = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
        eps: s.eps,
        max_context: c.opt_dim("max_position_embeddings")?,
        names: Names { embed: "embeddings", ..Names::LLAMA },
        norm: NormKind::Layer { bias: true },
        ..Outline::new(s.width, count, c.positive("vocab_size")?)
    };
    let decoder = o.sharing(
        p,
        |p, i| {
            let layer = RwkvLayer {
                pre_norm: (i == 0).then(|| LayerNorm::new(p, "pre_norm", s.width, s.eps, true)),
                attention_norm: LayerNorm::new(p, "attn_norm", s.width, s.eps, true),
                time: TimeMix::new(p, &s, i == 0),
                mlp_norm: LayerNorm::new(p, "ffn_norm", s.width, s.eps, true),
                channel: ChannelMix::new(p, &s),
            };
            Ok(Place::new(MaskRule::Recurrent(3), layer))
        },
        |_, call| (call.embedded, None),
    )?;
    Ok(decoder.with_quant_override(quant_override).built())
}

/// Embedding and second matrices of the low-rank pairs are packed at 8 bits.
fn quant_override(path: &str) -> QuantOverride {
    if path.contains("lora.2") || path.contains("embeddings") {
        QuantOverride::EightBit
    } else {
        QuantOverride::Default
    }
}

struct Settings {
    width: u64,
    hidden: u64,
    heads: u64,
    dim: u64,
    eps: f64,
    a_rank: u64,
    v_rank: u64,
    gate_rank: u64,
    decay_rank: u64,
}

impl Settings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let (width, dim) = (c.positive("hidden_size")?, c.positive("head_dim")?);
        if width % dim != 0 {
            return Err(c.invalid("head_dim", format!("a divisor of hidden_size ({width})")));
        }
        Ok(Self {
            width,
            hidden: c.positive("intermediate_size")?,
            heads: width / dim,
            dim,
            eps: c.number_or("norm_eps", 1e-5)?,
            a_rank: c.positive("a_low_rank_dim")?,
            v_rank: c.positive("v_low_rank_dim")?,
            gate_rank: c.positive("gate_low_rank_dim")?,
            decay_rank: c.positive("decay_low_rank_dim")?,
        })
    }
}

struct RwkvLayer {
    pre_norm: Option<LayerNorm>,
    attention_norm: LayerNorm,
    time: TimeMix,
    mlp_norm: LayerNorm,
    channel: ChannelMix,
}

/// Layers share the values of the first one.
impl Layer<Option<Var>> for RwkvLayer {
    fn run(&self, t: &Tape<'_>, x: Var, at: At<'_, Option<Var>>) -> Var {
        let x = match &self.pre_norm {
            Some(norm) => norm.forward(t, x),
            None => x,
        };
        let r = self.attention_norm.forward(t, x);
        let (r, value) = self.time.forward(t, r, *at.shared, at.cache);
        *at.shared = Some(value);
        let h = t.add(x, r);
        t.add(h, self.channel.forward(t, self.mlp_norm.forward(t, h), at.cache))
    }
}

/// `x + y * z`, one kernel.
fn addcmul(t: &Tape<'_>, x: Var, y: Var, z: Var) -> Var {
    let [out] = t.compiled(|t| {
        let product = t.mul(y, z);
        [t.add(x, product)]
    });
    out
}

/// The token before each token; state `slot` of the cache holds the last one of the call before.
fn shifted(t: &Tape<'_>, x: Var, cache: &Cache, slot: usize) -> Var {
    let n = t.dim(x, 1);
    let last = cache.state(slot).unwrap_or_else(|| {
        let (shape, dtype) = (t.shape(x).with(1, 1), t.dtype(x));
        t.full(shape, 0.0, dtype)
    });
    if n == 1 {
        return last;
    }
    let rest = t.slice(x, 1, 0, n.saturating_sub(1));
    t.concat(&[last, rest], 1)
}

/// Two small matrices with an activation between them.
#[derive(Debug)]
struct LowRank {
    down: Linear,
    up: Linear,
    activation: Option<Unary>,
}

impl LowRank {
    fn new(
        p: &mut ParamBuilder,
        name: &str,
        width: u64,
        rank: u64,
        bias: bool,
        activation: Option<Unary>,
    ) -> Self {
        p.scope(name, |p| Self {
            down: Linear::new(p, "lora.0", width, rank, false),
            up: Linear::new(p, "lora.2", rank, width, bias),
            activation,
        })
    }

    fn forward(&self, t: &Tape<'_>, x: Var) -> Var {
        let mut x = self.down.forward(t, x);
        if let Some(activation) = self.activation {
            x = t.unary(activation, x);
        }
        self.up.forward(t, x)
    }
}

/// The recurrence with its projections, `attn`.
struct TimeMix {
    heads: u64,
    dim: u64,
    /// Mixing weights of r, w, k, v, a and g.
    shifts: [ModuleId; 6],
    k_k: ModuleId,
    k_a: ModuleId,
    r_k: ModuleId,
    r: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    norm_weight: ModuleId,
    norm_bias: ModuleId,
    w_low: LowRank,
    /// Not in the first layer, whose values the others mix in.
    v_low: Option<LowRank>,
    a_low: LowRank,
    g_low: LowRank,
}

impl TimeMix {
    fn new(p: &mut ParamBuilder, s: &Settings, first: bool) -> Self {
        let (w, per_head) = (s.width, [s.heads, s.dim]);
        p.scope("attn", |p| Self {
            heads: s.heads,
            dim: s.dim,
            shifts: ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g"].map(|n| p.raw(n, &[1, 1, w])),
            k_k: p.raw("k_k", &per_head),
            k_a: p.raw("k_a", &per_head),
            r_k: p.raw("r_k", &per_head),
            r: Linear::new(p, "r_proj", w, w, false),
            k: Linear::new(p, "k_proj", w, w, false),
            v: Linear::new(p, "v_proj", w, w, false),
            o: Linear::new(p, "o_proj", w, w, false),
            norm_weight: p.raw("g_norm.weight", &per_head),
            norm_bias: p.raw("g_norm.bias", &per_head),
            w_low: LowRank::new(p, "w_lora", w, s.decay_rank, true, Some(Unary::Tanh)),
            v_low: (!first).then(|| LowRank::new(p, "v_lora", w, s.v_rank, true, None)),
            a_low: LowRank::new(p, "a_lora", w, s.a_rank, true, None),
            g_low: LowRank::new(p, "g_lora", w, s.gate_rank, false, Some(Unary::Sigmoid)),
        })
    }

    fn split(&self, t: &Tape<'_>, x: Var) -> Var {
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        t.reshape(x, &[b, n, self.heads as i64, self.dim as i64])
    }

    /// The output, and the values of the first layer that later ones mix in.
    fn forward(&self, t: &Tape<'_>, x: Var, first: Option<Var>, cache: &mut Cache) -> (Var, Var) {
        let change = t.sub(shifted(t, x, cache, 0), x);
        let [xr, xw, xk, xv, xa, xg] = self.shifts.map(|id| addcmul(t, x, change, t.weight(id)));
        let key = self.split(t, self.k.forward(t, xk));
        let mut value = self.split(t, self.v.forward(t, xv));
        let r = self.split(t, self.r.forward(t, xr));
        let rate = self.split(t, t.sigmoid(self.a_low.forward(t, xa)));
        let gate = self.g_low.forward(t, xg);
        let mut kept = value;
        if let (Some(low), Some(first)) = (&self.v_low, first) {
            let mix = self.split(t, t.sigmoid(low.forward(t, xv)));
            value = addcmul(t, value, t.sub(first, value), mix);
            kept = first;
        }
        let decay = t.sigmoid(self.split(t, self.w_low.forward(t, xw)));
        let decay = t.exp(t.mul(t.astype(decay, DType::F32), -0.606_531));
        let decay = t.astype(decay, t.dtype(r));
        let unit = unit_length(t, t.mul(key, t.weight(self.k_k)));
        let k_a = t.weight(self.k_a);
        let scale = t.add(t.mul(t.sub(rate, 1i64), k_a), 1i64);
        let key = t.mul(key, scale);
        let a = t.neg(unit);
        let b = t.mul(unit, rate);
        let y = self.normalise(t, self.recur(t, [r, decay, key, value, a, b], cache));
        let r_k = t.weight(self.r_k);
        let bonus = t.reduce(Reduction::Sum, t.mul(t.mul(r, key), r_k), -1, true);
        let y = t.add(y, t.mul(bonus, value));
        let dims: Vec<i64> = t.shape(x).dims().iter().map(|&n| i64::from(n)).collect();
        let y = t.reshape(y, &dims);
        cache.set_state(t, 0, t.last(x, 1, 1));
        let y = t.mul(y, gate);
        (self.o.forward(t, y), kept)
    }

    /// One kernel over all tokens: r, w, k, v, a and b.
    fn recur(&self, t: &Tape<'_>, inputs: [Var; 6], cache: &mut Cache) -> Var {
        let r = inputs[0];
        let (shape, dtype) = (t.shape(r), t.dtype(r));
        let dim = self.dim as u32;
        let state_shape = Shape::new(&[shape.dim(0), self.heads as u32, dim, dim]);
        let state = cache.state(1).unwrap_or_else(|| t.full(state_shape, 0.0, dtype));
        let tokens = t.scalar(f64::from(shape.dim(1)), DType::I32);
        let mut all = inputs.to_vec();
        all.extend([state, tokens]);
        let (y, state) = t.kernel(Kernel::Wkv7, &all, (shape, dtype), (state_shape, dtype));
        cache.set_state(t, 1, state);
        y
    }

    /// A layer norm per head with its own weight and bias.
    fn normalise(&self, t: &Tape<'_>, y: Var) -> Var {
        let y = t.layer_norm(y, None, None, 64e-5);
        let (w, b) = (t.weight(self.norm_weight), t.weight(self.norm_bias));
        t.add(t.mul(w, y), b)
    }
}

/// `l2_norm`: one compiled function.
fn unit_length(t: &Tape<'_>, x: Var) -> Var {
    let [y] = t.compiled(|t| {
        let length = t.unary(Unary::Sqrt, t.sum(t.unary(Unary::Square, x), -1, true));
        let length = t.binary(Binary::Maximum, length, 1e-7);
        [t.div(x, length)]
    });
    y
}

/// The MLP, `ffn`.
struct ChannelMix {
    key: Linear,
    value: Linear,
    shift: ModuleId,
}

impl ChannelMix {
    fn new(p: &mut ParamBuilder, s: &Settings) -> Self {
        p.scope("ffn", |p| Self {
            key: Linear::new(p, "key", s.width, s.hidden, false),
            value: Linear::new(p, "value", s.hidden, s.width, false),
            shift: p.raw("x_k", &[s.width]),
        })
    }

    fn forward(&self, t: &Tape<'_>, x: Var, cache: &mut Cache) -> Var {
        let mixed = addcmul(t, x, t.sub(shifted(t, x, cache, 2), x), t.weight(self.shift));
        cache.set_state(t, 2, t.last(x, 1, 1));
        self.value.forward(t, activations::relu2(t, self.key.forward(t, mixed)))
    }
}
