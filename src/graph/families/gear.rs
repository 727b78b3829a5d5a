//! Gear: gated short convolutions over keys and values between window and full attention; norms with `1 + weight` around
//! both halves of a layer.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    c.require(&["layer_types", "num_key_value_heads"])?;
    let o = Outline::read(c, c.bool_or("tie_word_embeddings", true)?)?;
    if c.bool_or("use_bidirectional_attention", false)? {
        return Err(c.invalid("use_bidirectional_attention", "false, as mlx-lm requires"));
    }
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: kv_heads(c, query)?, dim: c.positive("head_dim")? };
    if heads.query % heads.kv != 0 {
        return Err(c.invalid("num_attention_heads", "a multiple of num_key_value_heads"));
    }
    let kinds = kinds(c, o.layers)?;
    let s = Settings::read(c, heads, o.eps)?;
    let hidden = c.positive("intermediate_size")?;
    let window = c.dim_or("sliding_window", 512)? as u32;
    let activation = activation(c)?;
    let o = Outline { norm: NormKind::Gemma, ..o };
    let mut decoder = o.decoder(p, |p, i| {
        let kind = kinds.get(i as usize).copied().unwrap_or(Kind::Full);
        let mixer: Box<dyn Mixer> = match kind {
            Kind::Conv => Box::new(ConvMixer::new(p, o.width, &s)),
            _ => Box::new(GearAttention::new(p, o.width, &s, kind)),
        };
        let mlp = GatedMlp::new(p, "mlp", o.width, hidden, false)
            .with_activation(move |t, gate, x| t.mul(activation(t, gate), x));
        let mut norm = |name| GemmaNorm::new(p, name, o.width, o.eps);
        let block = Sandwich::new(
            mixer,
            Norms::around(norm("input_layernorm"), norm("post_attention_layernorm")),
            mlp,
            Norms::around(norm("pre_feedforward_layernorm"), norm("post_feedforward_layernorm")),
        );
        let rule = match kind {
            Kind::Conv => MaskRule::Recurrent(2),
            Kind::Window => MaskRule::Window(window),
            Kind::Full => MaskRule::Full,
        };
        Ok((rule, block))
    })?;
    decoder = decoder.with_embedding_scale((o.width as f64).sqrt());
    if let Some(cap) = c.opt_number("final_logit_softcapping")?.filter(|&cap| cap != 0.0) {
        decoder.on_logits = Some(Box::new(move |t, x| cap_scores(t, x, cap)));
    }
    Ok(decoder.built())
}

/// Kinds of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Full,
    Window,
    Conv,
}

fn kinds(c: &Config, layers: u64) -> Result<Vec<Kind>, ConfigError> {
    let Some(types) = c.opt_strings("layer_types")? else {
        return Ok(vec![Kind::Full; layers as usize]);
    };
    let known = |t: &String| match t.as_str() {
        "full_attention" => Some(Kind::Full),
        "sliding_attention" => Some(Kind::Window),
        "conv_mixer" => Some(Kind::Conv),
        _ => None,
    };
    let kinds: Option<Vec<Kind>> = types.iter().map(known).collect();
    kinds.filter(|k| k.len() as u64 == layers).ok_or_else(|| {
        let expected = "'full_attention', 'sliding_attention' or 'conv_mixer' for each layer";
        c.invalid("layer_types", expected)
    })
}

/// The activation of the MLPs; the product with the other half is a kernel of its own.
fn activation(c: &Config) -> Result<fn(&Tape<'_>, Var) -> Var, ConfigError> {
    match c.opt_str("hidden_activation")?.unwrap_or("gelu_pytorch_tanh") {
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Ok(activations::gelu_approx),
        "gelu" => Ok(activations::gelu),
        "silu" | "swish" => Ok(activations::silu),
        _ => Err(c.invalid("hidden_activation", "a GELU or 'silu'")),
    }
}

/// `tanh(x / cap) * cap`, not compiled.
fn cap_scores(t: &Tape<'_>, x: Var, cap: f64) -> Var {
    t.mul(t.unary(Unary::Tanh, t.div(x, cap)), cap)
}

/// What the mixers read from the configuration.
struct Settings {
    heads: Heads,
    eps: f64,
    bias: bool,
    scale: f64,
    cap: Option<f64>,
    full_rope: RopeModule,
    window_rope: RopeModule,
    kernel: u64,
}

impl Settings {
    fn read(c: &Config, heads: Heads, eps: f64) -> Result<Self, ConfigError> {
        let local = c.number_or("rope_local_base_freq", 10_000.0)?;
        Ok(Self {
            heads,
            eps,
            bias: c.bool_or("attention_bias", false)?,
            scale: c.number_or("query_pre_attn_scalar", heads.dim as f64)?.powf(-0.5),
            cap: c.opt_number("attn_logit_softcapping")?.filter(|&cap| cap != 0.0),
            full_rope: RopeModule::read_as(
                c,
                heads.dim,
                1e6,
                false,
                c.opt_dim("max_position_embeddings")?,
            )?,
            window_rope: RopeModule::plain(heads.dim, false, local),
            kernel: match c.dim_or("conv_L_cache", 3)? {
                0 => return Err(c.invalid("conv_L_cache", "a whole number of at least 1")),
                n => n,
            },
        })
    }
}

/// Attention with norms over queries and keys, and capped scores when the configuration asks for them.
struct GearAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    q_norm: GemmaNorm,
    k_norm: GemmaNorm,
    heads: Heads,
    rope: RopeModule,
    scale: f64,
    cap: Option<f64>,
}

impl GearAttention {
    fn new(p: &mut ParamBuilder, width: u64, s: &Settings, kind: Kind) -> Self {
        let h = s.heads;
        let (q, kv) = (h.query * h.dim, h.kv * h.dim);
        p.scope("self_attn", |p| Self {
            q: Linear::new(p, "q_proj", width, q, s.bias),
            k: Linear::new(p, "k_proj", width, kv, s.bias),
            v: Linear::new(p, "v_proj", width, kv, s.bias),
            o: Linear::new(p, "o_proj", q, width, s.bias),
            q_norm: GemmaNorm::new(p, "q_norm", h.dim, s.eps),
            k_norm: GemmaNorm::new(p, "k_norm", h.dim, s.eps),
            heads: h,
            rope: if kind == Kind::Window { &s.window_rope } else { &s.full_rope }.clone(),
            scale: s.scale,
            cap: s.cap,
        })
    }

    /// Unfused attention with capped scores.
    fn capped(&self, t: &Tape<'_>, [q, k, v]: [Var; 3], mask: Mask, cap: f64) -> Var {
        let repeats = (self.heads.query / self.heads.kv.max(1)) as u32;
        let (k, v) = (repeat_heads(t, k, repeats), repeat_heads(t, v, repeats));
        let mut scores = cap_scores(t, t.matmul(t.mul(q, self.scale), t.swapaxes(k, -1, -2)), cap);
        let mask = match mask {
            Mask::None => None,
            Mask::Array(m) => Some(m),
            Mask::Causal => {
                let (queries, keys) = (t.dim(scores, -2), t.dim(scores, -1));
                let rows = t.arange(keys.saturating_sub(queries), keys);
                let columns = t.arange(0, keys);
                let rows = t.expand_dims(rows, &[1]);
                Some(t.binary(Binary::GreaterEqual, rows, t.expand_dims(columns, &[0])))
            }
        };
        if let Some(m) = mask {
            scores = if t.dtype(m) == DType::Bool {
                t.select(m, scores, f64::from(f32::MIN))
            } else {
                t.add(scores, m)
            };
        }
        t.matmul(t.softmax(scores, true), v)
    }
}

/// Repeats each head `repeats` times.
fn repeat_heads(t: &Tape<'_>, x: Var, repeats: u32) -> Var {
    if repeats == 1 {
        return x;
    }
    let s = t.shape(x);
    let x = t.expand_dims(x, &[2]);
    let wide = [s.dim(0), s.dim(1), repeats, s.dim(2), s.dim(3)];
    let x = t.broadcast_to(x, wide.into());
    let heads = i64::from(s.dim(1)) * i64::from(repeats);
    t.reshape(x, &[i64::from(s.dim(0)), heads, i64::from(s.dim(2)), i64::from(s.dim(3))])
}

impl Mixer for GearAttention {
    fn mix(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let (q, k, v) = (self.q.forward(t, x), self.k.forward(t, x), self.v.forward(t, x));
        let q = prepare(t, q, self.heads.query, Some((&self.q_norm, NormPlace::Rows)));
        let k = prepare(t, k, self.heads.kv, Some((&self.k_norm, NormPlace::Rows)));
        let v = Heads::split(t, v, self.heads.kv);
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(t, q, offset), self.rope.forward(t, k, offset));
        let kv = cache.update(t, k, v);
        let y = match self.cap {
            None => attend(t, q, kv, self.scale, mask, None),
            Some(cap) => {
                let (k, v) = (kv.0.dense(t), kv.1.dense(t));
                self.capped(t, [q, k, v], mask, cap)
            }
        };
        self.o.forward(t, Heads::join(t, y))
    }
}

/// Short convolutions over keys and values: `sigmoid(q * conv(k)) * conv(v)`.
struct ConvMixer {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    q_norm: GemmaNorm,
    k_norm: GemmaNorm,
    key_conv: Conv1d,
    value_conv: Conv1d,
    heads: Heads,
    kernel: u64,
}

impl ConvMixer {
    fn new(p: &mut ParamBuilder, width: u64, s: &Settings) -> Self {
        let h = s.heads;
        let (q, kv) = (h.query * h.dim, h.kv * h.dim);
        p.scope("local_mixer", |p| Self {
            key_conv: Conv1d::depthwise(p, "key_conv", kv, s.kernel, s.bias),
            value_conv: Conv1d::depthwise(p, "value_conv", kv, s.kernel, s.bias),
            q: Linear::new(p, "q_proj", width, q, s.bias),
            k: Linear::new(p, "k_proj", width, kv, s.bias),
            v: Linear::new(p, "v_proj", width, kv, s.bias),
            o: Linear::new(p, "o_proj", q, width, s.bias),
            q_norm: GemmaNorm::new(p, "q_norm", h.dim, s.eps),
            k_norm: GemmaNorm::new(p, "k_norm", h.dim, s.eps),
            heads: h,
            kernel: s.kernel,
        })
    }

    fn convolve(&self, t: &Tape<'_>, x: Var, conv: &Conv1d, cache: &mut Cache, i: usize) -> Var {
        let keep = self.kernel as u32 - 1;
        let (shape, dtype) = (t.shape(x), t.dtype(x));
        let past = match cache.state(i) {
            Some(state) => state,
            None => t.full(shape.with(1, keep), 0.0, dtype),
        };
        let input = t.concat(&[past, x], 1);
        let tail = if keep > 0 {
            t.contiguous(t.last(input, 1, keep))
        } else {
            t.full(shape.with(1, 0), 0.0, dtype)
        };
        cache.set_state(t, i, tail);
        conv.forward(t, input)
    }

    /// Repeats each key or value head for the query heads it belongs to.
    fn expand(&self, t: &Tape<'_>, x: Var) -> Var {
        let h = self.heads;
        let (b, n) = (t.dim(x, 0), t.dim(x, 1));
        let groups = (h.query / h.kv.max(1)) as u32;
        let x = t.reshape(x, &[i64::from(b), i64::from(n), h.kv as i64, h.dim as i64]);
        let x = t.expand_dims(x, &[3]);
        let x = t.broadcast_to(x, Shape::new(&[b, n, h.kv as u32, groups, h.dim as u32]));
        t.reshape(x, &[i64::from(b), i64::from(n), (h.query * h.dim) as i64])
    }
}

impl Mixer for ConvMixer {
    fn mix(&self, t: &Tape<'_>, x: Var, _: Mask, cache: &mut Cache) -> Var {
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        let (q, k, v) = (self.q.forward(t, x), self.k.forward(t, x), self.v.forward(t, x));
        let q = t.reshape(self.q_norm.forward(t, Heads::rows(t, q, self.heads.query)), &[b, n, -1]);
        let k = t.reshape(self.k_norm.forward(t, Heads::rows(t, k, self.heads.kv)), &[b, n, -1]);
        let k = self.convolve(t, k, &self.key_conv, cache, 0);
        let v = self.convolve(t, v, &self.value_conv, cache, 1);
        let (k, v) = (self.expand(t, k), self.expand(t, v));
        let y = t.mul(t.sigmoid(t.mul(q, k)), v);
        self.o.forward(t, y)
    }
}
