//! Llama 4: three layers of chunked attention to one full layer without rotation; one routed expert per token and a
//! shared one. Only the text model is used.

use crate::graph::parts::prelude::*;
use serde_json::Value;

/// Every fourth layer is a full one.
const PERIOD: u64 = 4;

/// `llama4`: the text model under `language_model`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.object("text_config")?;
    let o = Outline::read(c, false)?;
    if o.layers < PERIOD {
        return Err(c.invalid("num_hidden_layers", "at least 4 layers, as mlx-lm needs"));
    }
    let heads = Heads::sized(c, o.width)?;
    let settings = AttentionSettings {
        heads,
        bias: c.bool_or("attention_bias", false)?,
        norms: c.bool("use_qk_norm")?,
        rope: RopeModule::read_as(c, heads.dim, 10_000.0, true, o.max_context)?,
        temperature: Temperature::read(c)?,
    };
    let chunk = c.positive("attention_chunk_size")? as u32;
    let step = c.positive("interleave_moe_layer_step")?;
    let hidden = c.positive("intermediate_size")?;
    let dense = c.positive("intermediate_size_mlp")?;
    let experts = experts(c, "num_local_experts", "num_experts_per_tok")?;
    if experts.chosen != 1 {
        return Err(c.invalid("num_experts_per_tok", "1, the only number mlx-lm supports here"));
    }
    p.scope("language_model", |p| {
        let decoder = o.decoder(p, |p, i| {
            let full = (i + 1) % PERIOD == 0;
            let attention = TemperedAttention::new(p, o.width, &settings, full);
            let mlp: Box<dyn FeedForward> = if i % step == step - 1 {
                Box::new(Moe::new(p, o.width, hidden, experts))
            } else {
                Box::new(GatedMlp::new(p, "feed_forward", o.width, dense, false))
            };
            let rule = if full { MaskRule::Full } else { MaskRule::Chunk(chunk) };
            Ok((rule, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
        })?;
        Ok(decoder.with_experts(experts).built())
    })
}

/// `llama4_text`: the dense text model, all of whose layers attend to everything.
pub(super) fn build_text(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline { head: HeadKind::TiedUnpacked, ..Outline::read(c, true)? };
    let tied = c.bool("tie_word_embeddings")?;
    c.positive("intermediate_size")?;
    let heads = Heads::read(c)?;
    let hidden = c.positive("intermediate_size_mlp")?;
    let norms = c.bool("use_qk_norm")?;
    let rotated = rotated_layers(c, o.layers)?;
    let rope = RopeModule::plain(heads.dim, true, c.number_or("rope_theta", 10_000.0)?);
    let mut decoder = o.decoder(p, |p, i| {
        let rope = rotated.get(i as usize).is_some_and(|r| *r).then(|| rope.clone());
        let mut attention = Attention::new(p, "self_attn", o.width, heads, Biases::default(), rope);
        if norms {
            let norm = UnitNorm::new(o.eps);
            attention = attention.with_norms(norm, norm, NormPlace::Rows);
        }
        let mlp = GatedMlp::new(p, "feed_forward", o.width, hidden, false);
        Ok((MaskRule::Full, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
    })?;
    if !tied {
        decoder.head = Head::Own(Linear::new(p, "output", o.width, o.vocabulary, false));
    }
    Ok(decoder.built())
}

/// `no_rope_layers`, whose entries are true (or not 0) for layers that do rotate.
fn rotated_layers(c: &Config, layers: u64) -> Result<Vec<bool>, ConfigError> {
    let wrong = || c.invalid("no_rope_layers", format!("a list of {layers} flags"));
    c.require(&["no_rope_layers"])?;
    let list = c.get("no_rope_layers").and_then(Value::as_array).ok_or_else(wrong)?;
    let flags: Option<Vec<bool>> =
        list.iter().map(|v| v.as_bool().or_else(|| v.as_i64().map(|n| n != 0))).collect();
    flags.filter(|f| f.len() as u64 >= layers).ok_or_else(wrong)
}

struct AttentionSettings {
    heads: Heads,
    bias: bool,
    norms: bool,
    rope: RopeModule,
    temperature: Option<Temperature>,
}

/// How the queries of full layers grow with their position.
#[derive(Clone, Copy, Debug)]
struct Temperature {
    floor_scale: f64,
    scale: f64,
}

impl Temperature {
    fn read(c: &Config) -> Result<Option<Self>, ConfigError> {
        let key = "attn_temperature_tuning";
        let on = match c.get(key) {
            None => !c.has(key),
            Some(Value::Bool(on)) => *on,
            Some(_) => c.number_or(key, 0.0)? != 0.0,
        };
        let floor_scale = c.number_or("floor_scale", 8192.0)?;
        Ok(on.then_some(Self { floor_scale, scale: c.number_or("attn_scale", 0.1)? }))
    }

    /// The queries times `log(floor(position / floor_scale) + 1) * scale + 1`; positions count from 1.
    fn apply<'t>(&self, q: Var<'t>, offset: u32) -> Var<'t> {
        let n = q.dim(2);
        let positions = q.tape().arange(offset.saturating_add(1), offset.saturating_add(n + 1));
        let x = if self.floor_scale.fract() == 0.0 {
            positions / self.floor_scale as i64
        } else {
            positions / self.floor_scale
        };
        let x = ((x.floor() + 1.0).log() * self.scale + 1.0).expand_dims(&[1]);
        let dtype: DType = q.dtype();
        (q * x).astype(dtype)
    }
}

/// Attention with norms without weights after the rotation, or, in full layers, without rotation and norms.
struct TemperedAttention {
    inner: Attention,
    temperature: Option<Temperature>,
}

impl TemperedAttention {
    fn new(p: &mut ParamBuilder, width: u64, s: &AttentionSettings, full: bool) -> Self {
        let rope = (!full).then(|| s.rope.clone());
        let inner = Attention::new(p, "self_attn", width, s.heads, Biases::all(s.bias), rope);
        let norm = UnitNorm::new(1e-6);
        Self {
            inner: match s.norms && !full {
                true => inner.with_norms(norm, norm, NormPlace::Rotated),
                false => inner,
            },
            temperature: s.temperature.filter(|_| full),
        }
    }
}

impl Mixer for TemperedAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let offset = cache.offset();
        let [mut q, k, v] = self.inner.prepared(x, offset);
        if let Some(temperature) = &self.temperature {
            q = temperature.apply(q, offset);
        }
        self.inner.output(q, cache.update(k, v), mask)
    }
}

/// One routed expert, whose input is scaled by its score, and a shared one.
struct Moe {
    router: Linear,
    experts: SwitchGlu,
    shared: GatedMlp,
}

impl Moe {
    fn new(p: &mut ParamBuilder, width: u64, hidden: u64, experts: Experts) -> Self {
        p.scope("feed_forward", |p| Self {
            experts: SwitchGlu::new(p, "experts", width, hidden, experts.total, false),
            router: Linear::new(p, "router", width, experts.total, false),
            shared: GatedMlp::new(p, "shared_expert", width, hidden, false),
        })
    }
}

impl FeedForward for Moe {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let logits = self.router.forward(x);
        let index = (-logits).argpartition(0, -1).slice(-1, 0, 1);
        let score = logits.take_along_axis(index, -1).astype(DType::F32).sigmoid();
        let scaled = x * score.astype(x.dtype());
        let y = self.experts.forward(scaled, index, activations::swiglu).squeeze(&[2]);
        y + self.shared.apply(x)
    }
}
