//! DeepSeek-V4.1: a window of recent tokens and compressed older ones, chosen by indexers that layers share;
//! hyper-connections instead of residuals; routed experts in every layer.

use crate::graph::cache::CompressedCache;
use crate::graph::nn::activations::Clamp;
use crate::graph::parts::deepseek_v41_attention::{DeepseekV41Attention, Shared};
use crate::graph::parts::deepseek_v41_settings::DeepseekV41AttentionSettings;
use crate::graph::parts::hyper::{HyperConnection, HyperSettings, collapse, expand};
use crate::graph::parts::prelude::*;

/// The settings stand in `text_config` or at the top; the tensors have no prefix either way.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = c.opt_object("text_config")?;
    let c = text.as_ref().unwrap_or(c);
    let c = &c.clone().with_defaults(&[
        ("num_hidden_layers", 40.into()),
        ("n_routed_experts", 384.into()),
        ("num_experts_per_tok", 6.into()),
    ]);
    if c.opt_dims("engram_layer_ids")?.is_some_and(|ids| !ids.is_empty()) {
        return Err(ConfigError::Unsupported(
            "this model has engram layers (engram_layer_ids), which mlx-lm does not implement"
                .to_owned(),
        ));
    }
    let count = layer_count(c)?;
    let width = c.dim_or("hidden_size", 5120)?;
    let eps = c.number_or("rms_norm_eps", 1e-20)?;
    let vocabulary = c.dim_or("vocab_size", 129_280)?;
    let attention = DeepseekV41AttentionSettings::read(c, width, eps)?;
    let hyper = HyperSettings::read(c, width, eps)?;
    let routing = Routing::read(c, width)?;
    let o = Outline {
        eps,
        max_context: Some(c.dim_or("max_position_embeddings", 1_048_576)?),
        ..Outline::new(width, count, vocabulary)
    };
    let (window, streams) = (attention.window(), hyper.streams as u32);
    let mut decoder = o.sharing(
        p,
        |p, i| {
            let layer = HyperLayer {
                attention: DeepseekV41Attention::new(p, &attention, i)?,
                mlp: Moe::new(p, &routing),
                input_norm: RmsNorm::new(p, "input_layernorm", width, eps),
                post_norm: RmsNorm::new(p, "post_attention_layernorm", width, eps),
                attention_mix: HyperConnection::new(p, "attn_hc", hyper),
                mlp_mix: HyperConnection::new(p, "ffn_hc", hyper),
            };
            let cache = CacheKind::Compressed(attention.cache(i));
            Ok(Place::new(MaskRule::Stateless, layer).caching(cache))
        },
        move |call| start(call, window, streams),
    )?;
    decoder.end = Some(Box::new(|streams, s| collapse(streams, s.weights)));
    Ok(decoder.with_experts(routing.experts).built())
}

/// What the layers share: the weights with which the next one reads the streams, and what indexers choose.
struct Carried<'t> {
    weights: Var<'t>,
    indices: Shared<'t>,
}

impl Carry for Carried<'static> {
    type On<'t> = Carried<'t>;
}

/// The embedding as the first of all streams.
fn start<'t>(call: Opening<'_, 't>, window: u32, count: u32) -> (Var<'t>, Carried<'t>) {
    let t = call.embedded.tape();
    let tokens = call.tokens;
    let (start, previous) =
        match call.caches.first_mut().and_then(|c| c.of_class::<CompressedCache>()) {
            Some(c) => (c.offset(), c.window_rows()),
            None => (0, 0),
        };
    let window = window_indices(t, previous, tokens.dim(1), window);
    let mut wide = window.shape();
    wide.insert(0, tokens.dim(0));
    let window = window.broadcast_to(wide);
    let h = call.embedded.expand_dims(&[2]);
    let streams = h.broadcast_to(h.shape().with(2, count));
    let mut shape = tokens.shape();
    shape.push(count);
    let zeros = t.full(shape, 0.0, DType::F32);
    let first = t.scalar(1.0, DType::F32).broadcast_to(shape.with(-1, 1));
    let weights = zeros.slice_update(first, -1, 0);
    (streams, Carried { weights, indices: Shared::new(start, window) })
}

/// Rows of the window that each query sees, -1 for none; the window holds `previous` rows, then the new ones.
fn window_indices<'t>(t: &'t Tape<'t>, previous: u32, new: u32, window: u32) -> Var<'t> {
    let width = window.min(previous.saturating_add(new));
    let end = t.arange(0, new) + i64::from(previous);
    let start = end - i64::from(window) + 1i64;
    let start = start.maximum(0i64).expand_dims(&[1]);
    let indices = start + t.arange(0, width).expand_dims(&[0]);
    indices.greater(end.expand_dims(&[1])).select(-1i64, indices)
}

struct HyperLayer {
    attention: DeepseekV41Attention,
    mlp: Moe,
    input_norm: RmsNorm,
    post_norm: RmsNorm,
    attention_mix: HyperConnection,
    mlp_mix: HyperConnection,
}

impl Layer<Carried<'static>> for HyperLayer {
    fn run<'t>(&self, streams: Var<'t>, at: At<'_, 't, Carried<'static>>) -> Var<'t> {
        let mixes = self.attention_mix.mixes(streams);
        let h = self.input_norm.forward(collapse(streams, at.shared.weights));
        let h = self.attention.forward(h, at.cache, &mut at.shared.indices);
        let streams = expand(h, streams, &mixes);
        let next = self.mlp_mix.mixes(streams);
        let h = self.mlp.forward(self.post_norm.forward(collapse(streams, mixes.pre)));
        at.shared.weights = next.pre;
        expand(h, streams, &next)
    }
}

/// Settings of the routed experts.
struct Routing {
    experts: Experts,
    width: u64,
    hidden: u64,
    scores: Score,
    temperature: f64,
    normalize: bool,
    scale: f64,
    clamp: Clamp,
}

impl Routing {
    fn read(c: &Config, width: u64) -> Result<Self, ConfigError> {
        Ok(Self {
            experts: experts(c, "n_routed_experts", "num_experts_per_tok")?,
            width,
            hidden: c.dim_or("moe_intermediate_size", 2304)?,
            scores: match c.opt_str("scoring_func")? {
                Some("sigmoid") => Score::Sigmoid,
                Some("softmax") => Score::Softmax,
                _ => Score::SqrtSoftplus,
            },
            temperature: c.number_or("gate_temp", 1.0)?,
            normalize: c.bool_or("norm_topk_prob", true)?,
            scale: c.number_or("routed_scaling_factor", 1.5)?,
            clamp: Clamp { limit: c.number_or("swiglu_limit", 10.0)? },
        })
    }
}

struct Moe {
    gate: ModuleId,
    bias: ModuleId,
    experts: SwitchGlu,
    shared: GatedMlp,
    chosen: u64,
    scores: Score,
    temperature: f64,
    normalize: bool,
    scale: f64,
    clamp: Clamp,
}

impl Moe {
    fn new(p: &mut ParamBuilder, r: &Routing) -> Self {
        let total = r.experts.total;
        p.scope("mlp", |p| Self {
            gate: p.raw("gate.weight", &[total, r.width]),
            bias: p.raw_f32("gate.e_score_correction_bias", &[total]),
            experts: SwitchGlu::new(p, "experts.switch_mlp", r.width, r.hidden, total, false),
            shared: GatedMlp::up_first(p, "shared_experts", r.width, r.hidden, false)
                .with_clamp(r.clamp),
            chosen: r.experts.chosen,
            scores: r.scores,
            temperature: r.temperature,
            normalize: r.normalize,
            scale: r.scale,
            clamp: r.clamp,
        })
    }

    /// Chosen experts and their weights, for `x [tokens, width]`.
    fn route<'t>(&self, x: Var<'t>) -> (Var<'t>, Var<'t>) {
        let t = x.tape();
        let x = x.astype(DType::F32);
        let w = t.weight(self.gate).astype(DType::F32).transpose(&[1, 0]);
        let logits = x.matmul(w) / self.temperature;
        let scores = match self.scores {
            Score::Sigmoid => logits.sigmoid(),
            Score::Softmax => logits.softmax(false),
            Score::SqrtSoftplus => logits.compiled(activations::softplus).sqrt(),
        };
        let chosen = best(scores + t.weight(self.bias), self.chosen, Order::Descending);
        let divisor = Divisor::sum_plus(self.normalize && self.chosen > 1, 1e-20);
        (chosen, divisor.apply(scores.take_along_axis(chosen, -1)) * self.scale)
    }

    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let (shape, dtype) = (x.shape(), x.dtype());
        let flat = x.reshape(&[-1, i64::from(shape.dim(-1))]);
        let (chosen, weights) = self.route(flat);
        let y = self.experts.forward(flat, chosen, |gate, up| self.clamp.apply(gate, up));
        let y = (y.astype(DType::F32) * weights.expand_dims(&[-1])).sum(1, false);
        let y = y + self.shared.apply(flat).astype(DType::F32);
        let dims = shape.signed();
        y.reshape(&dims).astype(dtype)
    }
}
