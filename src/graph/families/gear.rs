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
        let mlp = GatedMlp::up_first(p, "mlp", o.width, hidden, false)
            .with_activation(move |gate, x| activation(gate) * x);
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
        decoder.on_logits = Some(Box::new(move |x| cap_scores(x, cap)));
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
fn activation(c: &Config) -> Result<Activation, ConfigError> {
    match c.opt_str("hidden_activation")?.unwrap_or("gelu_pytorch_tanh") {
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Ok(activations::gelu_approx),
        "gelu" => Ok(activations::gelu),
        "silu" | "swish" => Ok(activations::silu),
        _ => Err(c.invalid("hidden_activation", "a GELU or 'silu'")),
    }
}

/// `tanh(x / cap) * cap`, not compiled.
fn cap_scores(x: Var<'_>, cap: f64) -> Var<'_> {
    (x / cap).tanh() * cap
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
            kernel: c.positive_or("conv_L_cache", 3)?,
        })
    }
}

/// Attention with norms over queries and keys, and capped scores when the configuration asks for them.
struct GearAttention {
    inner: Attention,
    heads: Heads,
    scale: f64,
    cap: Option<f64>,
}

impl GearAttention {
    fn new(p: &mut ParamBuilder, width: u64, s: &Settings, kind: Kind) -> Self {
        let Settings { heads, eps, scale, cap, .. } = *s;
        let rope = if kind == Kind::Window { &s.window_rope } else { &s.full_rope };
        let (biases, rope) = (Biases::all(s.bias), Some(rope.clone()));
        let inner = Attention::new(p, "self_attn", width, heads, biases, rope).with_scale(scale);
        let query = GemmaNorm::new(p, "self_attn.q_norm", heads.dim, eps);
        let key = GemmaNorm::new(p, "self_attn.k_norm", heads.dim, eps);
        Self { inner: inner.with_norms(query, key, NormPlace::Rows), heads, scale, cap }
    }

    /// Unfused attention with capped scores.
    fn capped<'t>(&self, [q, k, v]: [Var<'t>; 3], mask: Mask<'t>, cap: f64) -> Var<'t> {
        let repeats = (self.heads.query / self.heads.kv.max(1)) as u32;
        let (k, v) = (repeat_heads(k, repeats), repeat_heads(v, repeats));
        let mut scores = cap_scores((q * self.scale).matmul(k.swapaxes(-1, -2)), cap);
        let mask = match mask {
            Mask::None => None,
            Mask::Array(m) => Some(m),
            Mask::Causal => Some(causal_scores(scores)),
        };
        if let Some(m) = mask {
            scores = if m.dtype() == DType::Bool {
                m.select(scores, f64::from(f32::MIN))
            } else {
                scores + m
            };
        }
        scores.softmax(true).matmul(v)
    }
}

/// Repeats each head `repeats` times.
fn repeat_heads(x: Var<'_>, repeats: u32) -> Var<'_> {
    if repeats == 1 {
        return x;
    }
    let s = x.shape();
    let x = x.expand_dims(&[2]);
    let wide = [s.dim(0), s.dim(1), repeats, s.dim(2), s.dim(3)];
    let x = x.broadcast_to(wide.into());
    let heads = i64::from(s.dim(1)) * i64::from(repeats);
    x.reshape(&[i64::from(s.dim(0)), heads, i64::from(s.dim(2)), i64::from(s.dim(3))])
}

impl Mixer for GearAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let [q, k, v] = self.inner.prepared(x, cache.offset());
        let kv = cache.update(k, v);
        match self.cap {
            None => self.inner.output(q, kv, mask),
            Some(cap) => {
                let y = self.capped([q, kv.0.dense(t), kv.1.dense(t)], mask, cap);
                self.inner.project(Heads::join(y))
            }
        }
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

    fn convolve<'t>(&self, x: Var<'t>, conv: &Conv1d, cache: &mut Cache, i: usize) -> Var<'t> {
        let t = x.tape();
        let keep = self.kernel as u32 - 1;
        let (shape, dtype) = (x.shape(), x.dtype());
        let past = match cache.state(t, i) {
            Some(state) => state,
            None => t.full(shape.with(1, keep), 0.0, dtype),
        };
        let input = concat([past, x], 1);
        let tail = if keep > 0 {
            input.last(1, keep).contiguous()
        } else {
            t.full(shape.with(1, 0), 0.0, dtype)
        };
        cache.set_state(i, tail);
        conv.forward(input)
    }

    /// Repeats each key or value head for the query heads it belongs to.
    fn expand<'t>(&self, x: Var<'t>) -> Var<'t> {
        let h = self.heads;
        let (b, n) = (x.dim(0), x.dim(1));
        let groups = (h.query / h.kv.max(1)) as u32;
        let x = x.reshape(&[i64::from(b), i64::from(n), h.kv as i64, h.dim as i64]);
        let x = x.expand_dims(&[3]);
        let x = x.broadcast_to(Shape::new(&[b, n, h.kv as u32, groups, h.dim as u32]));
        x.reshape(&[i64::from(b), i64::from(n), (h.query * h.dim) as i64])
    }
}

impl Mixer for ConvMixer {
    fn mix<'t>(&self, x: Var<'t>, _: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let (q, k, v) = (self.q.forward(x), self.k.forward(x), self.v.forward(x));
        let q = self.q_norm.forward(Heads::rows(q, self.heads.query)).reshape(&[b, n, -1]);
        let k = self.k_norm.forward(Heads::rows(k, self.heads.kv)).reshape(&[b, n, -1]);
        let k = self.convolve(k, &self.key_conv, cache, 0);
        let v = self.convolve(v, &self.value_conv, cache, 1);
        let (k, v) = (self.expand(k), self.expand(v));
        let y = (q * k).sigmoid() * v;
        self.o.forward(y)
    }
}
