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
        |call| (call.embedded, None),
    )?;
    Ok(decoder.with_packing(QuantOverride::EightBit, &["lora.2", "embeddings"]).built())
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
impl Layer<Option<Var<'static>>> for RwkvLayer {
    fn run<'t>(&self, x: Var<'t>, at: At<'_, 't, Option<Var<'static>>>) -> Var<'t> {
        let x = match &self.pre_norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let r = self.attention_norm.forward(x);
        let (r, value) = self.time.forward(r, *at.shared, at.cache);
        *at.shared = Some(value);
        let h = x + r;
        h + self.channel.forward(self.mlp_norm.forward(h), at.cache)
    }
}

/// `x + y * z`, one kernel.
fn addcmul<'t>(x: Var<'t>, y: Var<'t>, z: Var<'t>) -> Var<'t> {
    x.compiled(|x| {
        let product = y * z;
        x + product
    })
}

/// The token before each token; state `slot` of the cache holds the last one of the call before.
fn shifted<'t>(x: Var<'t>, cache: &Cache, slot: usize) -> Var<'t> {
    let n = x.dim(1);
    let last = cache.state(x.tape(), slot).unwrap_or_else(|| {
        let (shape, dtype) = (x.shape().with(1, 1), x.dtype());
        x.tape().full(shape, 0.0, dtype)
    });
    if n == 1 {
        return last;
    }
    let rest = x.slice(1, 0, n.saturating_sub(1));
    concat([last, rest], 1)
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

    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let mut x = self.down.forward(x);
        if let Some(activation) = self.activation {
            x = x.unary(activation);
        }
        self.up.forward(x)
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

    fn split<'t>(&self, x: Var<'t>) -> Var<'t> {
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        x.reshape(&[b, n, self.heads as i64, self.dim as i64])
    }

    /// The output, and the values of the first layer that later ones mix in.
    fn forward<'t>(
        &self,
        x: Var<'t>,
        first: Option<Var<'t>>,
        cache: &mut Cache,
    ) -> (Var<'t>, Var<'t>) {
        let t = x.tape();
        let change = shifted(x, cache, 0) - x;
        let [xr, xw, xk, xv, xa, xg] = self.shifts.map(|id| addcmul(x, change, t.weight(id)));
        let key = self.split(self.k.forward(xk));
        let mut value = self.split(self.v.forward(xv));
        let r = self.split(self.r.forward(xr));
        let rate = self.split(self.a_low.forward(xa).sigmoid());
        let gate = self.g_low.forward(xg);
        let mut kept = value;
        if let (Some(low), Some(first)) = (&self.v_low, first) {
            let mix = self.split(low.forward(xv).sigmoid());
            value = addcmul(value, first - value, mix);
            kept = first;
        }
        let decay = self.split(self.w_low.forward(xw)).sigmoid();
        let decay = (decay.astype(DType::F32) * -0.606_531).exp().astype(r.dtype());
        let unit = unit_length(key * t.weight(self.k_k));
        let k_a = t.weight(self.k_a);
        let scale = (rate - 1i64) * k_a + 1i64;
        let key = key * scale;
        let a = -unit;
        let b = unit * rate;
        let y = self.normalize(self.recur([r, decay, key, value, a, b], cache));
        let r_k = t.weight(self.r_k);
        let bonus = (r * key * r_k).reduce(Reduction::Sum, -1, true);
        let y = y + bonus * value;
        let dims = x.shape().signed();
        let y = y.reshape(&dims);
        cache.set_state(0, x.last(1, 1));
        let y = y * gate;
        (self.o.forward(y), kept)
    }

    /// One kernel over all tokens: r, w, k, v, a and b.
    fn recur<'t>(&self, inputs: [Var<'t>; 6], cache: &mut Cache) -> Var<'t> {
        let t = inputs[0].tape();
        let r = inputs[0];
        let (shape, dtype) = (r.shape(), r.dtype());
        let dim = self.dim as u32;
        let state_shape = Shape::new(&[shape.dim(0), self.heads as u32, dim, dim]);
        let state = cache.state(t, 1).unwrap_or_else(|| t.full(state_shape, 0.0, dtype));
        let tokens = t.scalar(f64::from(shape.dim(1)), DType::I32);
        let mut all = inputs.to_vec();
        all.extend([state, tokens]);
        let (y, state) = t.kernel(Kernel::Wkv7, &all, (shape, dtype), (state_shape, dtype));
        cache.set_state(1, state);
        y
    }

    /// A layer norm per head with its own weight and bias.
    fn normalize<'t>(&self, y: Var<'t>) -> Var<'t> {
        let t = y.tape();
        let y = y.layer_norm(None, None, 64e-5);
        let (w, b) = (t.weight(self.norm_weight), t.weight(self.norm_bias));
        w * y + b
    }
}

/// `l2_norm`: one compiled function.
fn unit_length(x: Var<'_>) -> Var<'_> {
    x.compiled(|x| {
        let length = x.square().sum(-1, true).sqrt();
        let length = length.maximum(1e-7);
        x / length
    })
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

    fn forward<'t>(&self, x: Var<'t>, cache: &mut Cache) -> Var<'t> {
        let mixed = addcmul(x, shifted(x, cache, 2) - x, x.tape().weight(self.shift));
        cache.set_state(2, x.last(1, 1));
        self.value.forward(activations::relu2(self.key.forward(mixed)))
    }
}
