//! Gemma 3n: several copies of the hidden state that the layers predict and correct (AltUp), a low-rank residual
//! (LAuReL), sparse activations in early layers, an extra input per layer, late layers that attend to the keys and
//! values of earlier ones.

mod altup;
mod layer;

use crate::graph::parts::prelude::*;
use layer::{Gemma3nCarried, Layer3n};
use std::sync::Arc;

/// What the layers are built from.
struct Settings {
    width: u64,
    layers: usize,
    hidden: Vec<u64>,
    query: u64,
    kv: u64,
    head: u64,
    eps: f64,
    /// Layers from this one on attend to the keys and values of earlier ones.
    shared_from: usize,
    sparsity: Vec<f64>,
    per_layer: u64,
    copies: u64,
    active: u32,
    clip: Option<f64>,
    correct_scale: bool,
    laurel_rank: u64,
    rules: Vec<MaskRule>,
    full_rope: RopeModule,
    local_rope: RopeModule,
}

impl Settings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let layers = layer_count(c)? as usize;
        let Some(shared_from) = layers.checked_sub(c.dim("num_kv_shared_layers")? as usize) else {
            return Err(c.invalid("num_kv_shared_layers", format!("at most {layers}")));
        };
        let hidden = match c.get("intermediate_size") {
            Some(serde_json::Value::Array(_)) => {
                c.opt_dims("intermediate_size")?.unwrap_or_default()
            }
            _ => vec![c.positive("intermediate_size")?; layers],
        };
        if hidden.len() < layers {
            return Err(c.invalid("intermediate_size", format!("{layers} sizes, one per layer")));
        }
        let head = c.positive("head_dim")?;
        let copies = c.positive("altup_num_inputs")?;
        let active = c.dim("altup_active_idx")?;
        if !(2..=64).contains(&copies) {
            return Err(c.invalid("altup_num_inputs", "a whole number from 2 to 64"));
        }
        if active >= copies {
            return Err(c.invalid("altup_active_idx", "less than altup_num_inputs"));
        }
        let rope = |key: &str, default: f64| -> Result<RopeModule, ConfigError> {
            Ok(RopeModule::plain(head, false, c.number_or(key, default)?))
        };
        Ok(Self {
            width: c.positive("hidden_size")?,
            layers,
            hidden,
            query: c.positive("num_attention_heads")?,
            kv: c.positive("num_key_value_heads")?,
            head,
            eps: c.number_or("rms_norm_eps", 1e-5)?,
            shared_from,
            sparsity: sparsity(c, layers)?,
            per_layer: c.positive("hidden_size_per_layer_input")?,
            copies,
            active: active as u32,
            clip: c.opt_number("altup_coef_clip")?,
            correct_scale: c.bool("altup_correct_scale")?,
            laurel_rank: c.positive("laurel_rank")?,
            rules: rules(c, layers, shared_from)?,
            full_rope: rope("rope_theta", 1e6)?,
            local_rope: rope("rope_local_base_freq", 1e4)?,
        })
    }
}

/// The share of activations that each layer sets to zero.
fn sparsity(c: &Config, layers: usize) -> Result<Vec<f64>, ConfigError> {
    let wrong =
        || c.invalid("activation_sparsity_pattern", format!("{layers} numbers from 0 to below 1"));
    match c.get("activation_sparsity_pattern") {
        None => Ok(vec![0.0; layers]),
        Some(serde_json::Value::Array(list)) if list.len() >= layers => list
            .iter()
            .map(|v| v.as_f64().filter(|x| (0.0..1.0).contains(x)).ok_or_else(wrong))
            .collect(),
        Some(_) => Err(wrong()),
    }
}

fn rules(c: &Config, layers: usize, shared_from: usize) -> Result<Vec<MaskRule>, ConfigError> {
    let window = MaskRule::Window(c.positive("sliding_window")? as u32);
    let types = c.opt_strings("layer_types")?.unwrap_or_default();
    let rules = window_rules(c, types.get(..layers).unwrap_or(&types), window)?;
    let own = rules.get(..shared_from).unwrap_or_default();
    if rules.len() < layers || !own.contains(&MaskRule::Full) || !own.contains(&window) {
        let expected = format!(
            "{layers} entries, both kinds among the {shared_from} layers with keys and values"
        );
        return Err(c.invalid("layer_types", expected));
    }
    Ok(rules)
}

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = c.opt_object("text_config")?.ok_or_else(|| c.invalid("text_config", "an object"))?;
    let s = Settings::read(&c)?;
    let vocabulary = c.positive("vocab_size")?;
    let extra_vocabulary = c.positive("vocab_size_per_layer_input")?;
    let cap = c.opt_number("final_logit_softcapping")?;
    let o = Outline {
        head: HeadKind::Tied,
        eps: s.eps,
        max_context: c.opt_dim("max_position_embeddings")?,
        names: Names { model: "model.language_model", ..Names::LLAMA },
        ..Outline::new(s.width, s.layers as u64, vocabulary)
    };
    let ends = Arc::new(p.scope("model.language_model", |p| Ends::new(p, &s, extra_vocabulary)));
    let start = Arc::clone(&ends);
    let own = &s.rules[..s.shared_from];
    let last = |rule: &MaskRule| own.iter().rposition(|r| r == rule).unwrap_or(0);
    let mut decoder = o.sharing(
        p,
        |p, i| {
            let i = i as usize;
            let rule = s.rules[i];
            let place = Place::new(rule, Layer3n::new(p, &s, i));
            // The last layer of each kind with keys and values is the source of the later ones.
            Ok(if i < s.shared_from {
                place.source(s.shared_from < s.layers && i == last(&rule))
            } else {
                place.reading(last(&rule))
            })
        },
        move |call| start.begin(&call),
    )?;
    decoder.end = Some(Box::new(move |h, _| ends.gathered(h)));
    if let Some(cap) = cap {
        decoder = decoder.with_logits(move |logits| activations::softcap(cap, logits));
    }
    Ok(decoder.built())
}

/// What stands between embedding and layers, and between layers and final norm.
struct Ends {
    extra_table: Embedding,
    extra_projection: Linear,
    extra_norm: RmsNorm,
    /// Projections from the embedding to the further copies of the hidden state.
    spread: Vec<Linear>,
    /// Projections of the copies before they are averaged.
    gather: Vec<Linear>,
    width: u64,
    layers: usize,
    per_layer: u64,
    extra_vocabulary: u64,
}

impl Ends {
    fn new(p: &mut ParamBuilder, s: &Settings, extra_vocabulary: u64) -> Self {
        let all = s.layers as u64 * s.per_layer;
        let projections = |p: &mut ParamBuilder, name: &str| -> Vec<Linear> {
            (1..s.copies)
                .map(|i| Linear::new(p, &format!("{name}.{}", i - 1), s.width, s.width, false))
                .collect()
        };
        Self {
            extra_table: Embedding::new(p, "embed_tokens_per_layer", extra_vocabulary, all),
            extra_projection: Linear::new(p, "per_layer_model_projection", s.width, all, false),
            extra_norm: RmsNorm::new(p, "per_layer_projection_norm", s.per_layer, s.eps),
            spread: projections(p, "altup_projections"),
            gather: projections(p, "altup_unembed_projections"),
            width: s.width,
            layers: s.layers,
            per_layer: s.per_layer,
            extra_vocabulary,
        }
    }

    /// All copies of the hidden state, and what the layers share.
    fn begin<'t>(&self, call: &Opening<'_, 't>) -> (Var<'t>, Gemma3nCarried<'t>) {
        let h0 = call.embedded * (self.width as f64).sqrt();
        let extra = self.extra(call.tokens, h0);
        let target = magnitude(h0);
        let mut copies = vec![h0];
        copies.extend(self.spread.iter().map(|linear| linear.forward(h0)));
        let h = level(call.embedded.tape().stack(&copies, 0), target);
        (h, Gemma3nCarried { extra, offset: call.offset() })
    }

    /// The mean of all copies.
    fn gathered<'t>(&self, mut h: Var<'t>) -> Var<'t> {
        let target = magnitude(h.row(0));
        for (i, linear) in self.gather.iter().enumerate() {
            let copy = linear.forward(h.row(i as u32 + 1));
            h = h.slice_update(copy.broadcast_to(h.shape().with(0, 1)), 0, i as u32 + 1);
        }
        level(h, target).mean(0, false)
    }

    /// The extra inputs `[batch, tokens, layers, size]`.
    fn extra<'t>(&self, tokens: Var<'t>, h: Var<'t>) -> Var<'t> {
        let (b, n) = (i64::from(tokens.dim(0)), i64::from(tokens.dim(1)));
        let dims = [b, n, self.layers as i64, self.per_layer as i64];
        let known = tokens.less(self.extra_vocabulary as i64);
        let rows = self.extra_table.forward(known.select(tokens, tokens.zeros_like()));
        let rows = rows * (self.per_layer as f64).sqrt();
        let rows = rows.reshape(&dims);
        let projected = self.extra_projection.forward(h) * (self.width as f64).powf(-0.5);
        (self.extra_norm.forward(projected.reshape(&dims)) + rows) * 2f64.powf(-0.5)
    }
}

/// All copies but the first scaled to the magnitude `target`.
fn level<'t>(h: Var<'t>, target: Var<'t>) -> Var<'t> {
    let rest = h.slice(0, 1, u32::MAX);
    let ratio = target / magnitude(rest).maximum(h.dtype().lowest());
    h.slice_update(rest * ratio, 0, 1)
}

/// `mean(x ** 2, axis=-1, keepdims=True) ** 0.5`.
fn magnitude(x: Var<'_>) -> Var<'_> {
    x.power(2i64).mean(-1, true).power(0.5)
}
