//! DeepSeek-V4.1: a window of recent tokens and compressed older ones, chosen by indexers that layers share;
//! hyper-connections instead of residuals; routed experts in every layer.

use crate::graph::nn::activations::Clamp;
use crate::graph::parts::deepseek_v41_attention::{Attention, AttentionSettings, Shared};
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
    let attention = AttentionSettings::read(c, width, eps)?;
    let hyper = HyperSettings::read(c, width, eps)?;
    let routing = Routing::read(c, width)?;
    let (embed, layers, norm) = p.scope("model", |p| {
        let embed = Embedding::new(p, "embed_tokens", vocabulary, width);
        let layers = (0..count).map(|i| {
            p.scope(&format!("layers.{i}"), |p| {
                Ok(Layer {
                    attention: Attention::new(p, &attention, i)?,
                    mlp: Moe::new(p, &routing),
                    input_norm: RmsNorm::new(p, "input_layernorm", width, eps),
                    post_norm: RmsNorm::new(p, "post_attention_layernorm", width, eps),
                    attention_mix: HyperConnection::new(p, "attn_hc", hyper),
                    mlp_mix: HyperConnection::new(p, "ffn_hc", hyper),
                })
            })
        });
        let layers = layers.collect::<Result<Vec<_>, ConfigError>>()?;
        Ok::<_, ConfigError>((embed, layers, RmsNorm::new(p, "norm", width, eps)))
    })?;
    let head = Head::new(p, embed, false, width, vocabulary);
    let caches = (0..count).map(|i| CacheKind::Compressed(attention.cache(i))).collect();
    let window = attention.window();
    Ok(Built {
        layers: count,
        network: Box::new(DeepSeekV41 { embed, layers, norm, head, window, hyper }),
        caches,
        experts: Some(routing.experts),
        max_context: Some(c.dim_or("max_position_embeddings", 1_048_576)?),
    })
}

struct DeepSeekV41 {
    embed: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Head,
    window: u32,
    hyper: HyperSettings,
}

impl Network for DeepSeekV41 {
    fn forward(&self, t: &Tape<'_>, tokens: Var, caches: &mut [Cache]) -> Var {
        let h = self.embed.forward(t, tokens);
        let n = t.dim(tokens, 1);
        let (start, previous) = match caches.first_mut().and_then(|c| c.compressed()) {
            Some(c) => (c.offset(), c.window_rows()),
            None => (0, 0),
        };
        let window = window_indices(t, previous, n, self.window);
        let mut wide = t.shape(window);
        wide.insert(0, t.dim(tokens, 0));
        let window = t.broadcast_to(window, wide);
        let h = t.expand_dims(h, &[2]);
        let count = self.hyper.streams as u32;
        let wide = t.shape(h).with(2, count);
        let mut streams = t.broadcast_to(h, wide);
        let mut shape = t.shape(tokens);
        shape.push(count);
        let zeros = t.full(shape, 0.0, DType::F32);
        let one = t.scalar(1.0, DType::F32);
        let first = t.broadcast_to(one, shape.with(-1, 1));
        let mut weights = t.slice_update(zeros, first, -1, 0);
        let mut shared = Shared::new(start, window);
        for (i, (layer, cache)) in self.layers.iter().zip(caches).enumerate() {
            t.layer(i);
            (streams, weights) = layer.forward(t, streams, weights, cache, &mut shared);
        }
        t.set_stage(Stage::Head);
        let h = collapse(t, streams, weights);
        let h = self.norm.forward(t, h);
        self.head.forward(t, h)
    }
}

/// Rows of the window that each query sees, -1 for none; the window holds `previous` rows, then the new ones.
fn window_indices(t: &Tape<'_>, previous: u32, new: u32, window: u32) -> Var {
    let width = window.min(previous.saturating_add(new));
    let end = t.arange(0, new);
    let end = t.add(end, i64::from(previous));
    let start = t.sub(end, i64::from(window));
    let start = t.add(start, 1i64);
    let start = t.binary(Binary::Maximum, start, 0i64);
    let start = t.expand_dims(start, &[1]);
    let columns = t.arange(0, width);
    let columns = t.expand_dims(columns, &[0]);
    let indices = t.add(start, columns);
    let end = t.expand_dims(end, &[1]);
    let late = t.binary(Binary::Greater, indices, end);
    t.select(late, -1i64, indices)
}

struct Layer {
    attention: Attention,
    mlp: Moe,
    input_norm: RmsNorm,
    post_norm: RmsNorm,
    attention_mix: HyperConnection,
    mlp_mix: HyperConnection,
}

impl Layer {
    /// The streams after the layer, and the weights with which the next one reads them.
    fn forward(
        &self,
        t: &Tape<'_>,
        streams: Var,
        weights: Var,
        cache: &mut Cache,
        shared: &mut Shared,
    ) -> (Var, Var) {
        let mixes = self.attention_mix.mixes(t, streams);
        let h = collapse(t, streams, weights);
        let h = self.input_norm.forward(t, h);
        let h = self.attention.forward(t, h, cache, shared);
        let streams = expand(t, h, streams, &mixes);
        let next = self.mlp_mix.mixes(t, streams);
        let h = collapse(t, streams, mixes.pre);
        let h = self.post_norm.forward(t, h);
        let h = self.mlp.forward(t, h);
        (expand(t, h, streams, &next), next.pre)
    }
}

/// How logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scores {
    Sigmoid,
    Softmax,
    SqrtSoftplus,
}

/// Settings of the routed experts.
struct Routing {
    experts: Experts,
    width: u64,
    hidden: u64,
    scores: Scores,
    temperature: f64,
    normalise: bool,
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
                Some("sigmoid") => Scores::Sigmoid,
                Some("softmax") => Scores::Softmax,
                _ => Scores::SqrtSoftplus,
            },
            temperature: c.number_or("gate_temp", 1.0)?,
            normalise: c.bool_or("norm_topk_prob", true)?,
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
    scores: Scores,
    temperature: f64,
    normalise: bool,
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
            shared: GatedMlp::new(p, "shared_experts", r.width, r.hidden, false)
                .with_clamp(r.clamp),
            chosen: r.experts.chosen,
            scores: r.scores,
            temperature: r.temperature,
            normalise: r.normalise,
            scale: r.scale,
            clamp: r.clamp,
        })
    }

    /// Chosen experts and their weights, for `x [tokens, width]`.
    fn route(&self, t: &Tape<'_>, x: Var) -> (Var, Var) {
        let x = t.astype(x, DType::F32);
        let w = t.weight(self.gate);
        let w = t.astype(w, DType::F32);
        let w = t.transpose(w, &[1, 0]);
        let logits = t.matmul(x, w);
        let logits = t.div(logits, self.temperature);
        let scores = match self.scores {
            Scores::Sigmoid => t.sigmoid(logits),
            Scores::Softmax => t.softmax(logits, false),
            Scores::SqrtSoftplus => {
                let [s] = t.compiled(|t| [activations::softplus(t, logits)]);
                t.unary(Unary::Sqrt, s)
            }
        };
        let bias = t.weight(self.bias);
        let biased = t.add(scores, bias);
        let negative = t.neg(biased);
        let k = self.chosen;
        let order = t.argpartition(negative, k as i64 - 1, -1);
        let chosen = t.slice(order, -1, 0, k as u32);
        let mut weights = t.take_along_axis(scores, chosen, -1);
        if self.normalise && k > 1 {
            let total = t.sum(weights, -1, true);
            let total = t.add(total, 1e-20);
            weights = t.div(weights, total);
        }
        (chosen, t.mul(weights, self.scale))
    }

    fn forward(&self, t: &Tape<'_>, x: Var) -> Var {
        let (shape, dtype) = (t.shape(x), t.dtype(x));
        let flat = t.reshape(x, &[-1, i64::from(shape.dim(-1))]);
        let (chosen, weights) = self.route(t, flat);
        let y = self.experts.forward(t, flat, chosen, |t, gate, up| self.clamp.apply(t, gate, up));
        let y = t.astype(y, DType::F32);
        let weights = t.expand_dims(weights, &[-1]);
        let y = t.mul(y, weights);
        let y = t.sum(y, 1, false);
        let shared = self.shared.apply(t, flat);
        let shared = t.astype(shared, DType::F32);
        let y = t.add(y, shared);
        let dims: Vec<i64> = shape.dims().iter().map(|&n| i64::from(n)).collect();
        let y = t.reshape(y, &dims);
        t.astype(y, dtype)
    }
}
