//! Gemma 4: sliding-window and full layers of different head sizes, norms over queries, keys and values, late layers
//! that attend to the keys and values of earlier ones, an extra input per layer, optionally routed experts beside
//! the MLP. `gemma4` and `gemma4_unified` wrap the text model.

mod layer;

use crate::graph::parts::prelude::*;
use layer::{Gemma4Carried, Layer4};

/// `gemma4`, `gemma4_unified`: the text model under `language_model`, with the outer vocabulary.
pub(super) fn build_multimodal(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = if c.has("text_config") { text_config(c)? } else { c.clone().emptied() };
    let text = text.with("vocab_size", c.dim_or("vocab_size", 262_144)?);
    p.scope("language_model", |p| build(&text, p))
}

/// What the layers are built from.
struct Settings {
    width: u64,
    layers: usize,
    hidden: u64,
    query: u64,
    kv: u64,
    full_kv: Option<u64>,
    head: u64,
    full_head: u64,
    eps: f64,
    /// Layers from this one on have no keys and values of their own.
    shared_from: usize,
    wide_shared: bool,
    keys_are_values: bool,
    per_layer: u64,
    routed: Option<(Experts, u64)>,
    rules: Vec<MaskRule>,
    full_rope: RopeModule,
    local_rope: RopeModule,
}

impl Settings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let c = &c.clone().with_sizes(&[("num_hidden_layers", 35)]);
        let layers = layer_count(c)? as usize;
        let head = c.dim_or("head_dim", 256)?;
        let full_head = match c.has("global_head_dim") {
            true => c.opt_dim("global_head_dim")?.filter(|n| *n > 0).unwrap_or(head),
            false => 512,
        };
        let shared = c.dim_or("num_kv_shared_layers", 20)? as usize;
        let Some(shared_from) = layers.checked_sub(shared) else {
            return Err(c.invalid("num_kv_shared_layers", format!("at most {layers}, all layers")));
        };
        let routed = if c.bool_or("enable_moe_block", false)? {
            let experts = experts(c, "num_experts", "top_k_experts")?;
            Some((experts, c.positive("moe_intermediate_size")?))
        } else {
            None
        };
        let rules = rules(c, layers)?;
        if let Some(rule) = rules[shared_from..].iter().find(|r| !rules[..shared_from].contains(r))
        {
            return Err(ConfigError::Unsupported(format!(
                "the last {shared} layers share keys and values, but no earlier layer is of the kind {rule:?}"
            )));
        }
        Ok(Self {
            width: c.dim_or("hidden_size", 1536)?,
            layers,
            hidden: c.dim_or("intermediate_size", 6144)?,
            query: c.dim_or("num_attention_heads", 8)?,
            kv: c.dim_or("num_key_value_heads", 1)?,
            full_kv: c.opt_dim("num_global_key_value_heads")?,
            head,
            full_head,
            eps: c.number_or("rms_norm_eps", 1e-6)?,
            shared_from,
            wide_shared: c.bool_or("use_double_wide_mlp", true)?,
            keys_are_values: c.bool_or("attention_k_eq_v", false)?,
            per_layer: match c.has("hidden_size_per_layer_input") {
                true => c.dim_or("hidden_size_per_layer_input", 0)?,
                false => 256,
            },
            routed,
            rules,
            full_rope: rope(c, "full_attention", full_head)?,
            local_rope: rope(c, "sliding_attention", head)?,
        })
    }
}

/// The masks of `layer_types`, or of `sliding_window_pattern` when there is no such list.
fn rules(c: &Config, layers: usize) -> Result<Vec<MaskRule>, ConfigError> {
    let window = MaskRule::Window(c.dim_or("sliding_window", 512)?.max(1) as u32);
    let Some(types) = c.opt_strings("layer_types")? else {
        let pattern = (c.dim_or("sliding_window_pattern", 5)? as usize).max(1);
        return Ok((0..layers)
            .map(|i| if (i + 1) % pattern == 0 { MaskRule::Full } else { window })
            .collect());
    };
    if types.len() < layers {
        return Err(c.invalid("layer_types", format!("{layers} entries, one per layer")));
    }
    window_rules(c, &types[..layers], window)
}

/// The rope of one kind of layer, from its block of `rope_parameters`.
fn rope(c: &Config, kind: &str, dim: u64) -> Result<RopeModule, ConfigError> {
    let traditional = c.bool_or("rope_traditional", false)?;
    let max = Some(c.dim_or("max_position_embeddings", 131_072)?);
    let Some(all) = c.opt_object("rope_parameters")? else {
        return if kind == "full_attention" {
            RopeModule::proportional(dim, traditional, 1e6, 0.25, 1.0)
        } else {
            Ok(RopeModule::plain(dim, traditional, 10_000.0))
        };
    };
    let block = RopeScaling::read(&all, kind)?;
    let theta = match &block {
        Some(b) => b.values().number_or("rope_theta", 10_000.0)?,
        None => 10_000.0,
    };
    RopeModule::new(dim, theta, traditional, block.as_ref(), max)
}

/// `gemma4_text`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let s = Settings::read(c)?;
    let vocabulary = c.dim_or("vocab_size", 262_144)?;
    let tied = c.bool_or("tie_word_embeddings", true)?;
    let cap = if c.has("final_logit_softcapping") {
        c.opt_number("final_logit_softcapping")?
    } else {
        Some(30.0)
    };
    let extra_vocabulary = c.dim_or("vocab_size_per_layer_input", 262_144)?;
    let extra =
        (s.per_layer > 0).then(|| p.scope("model", |p| ExtraInput::new(p, &s, extra_vocabulary)));
    let o = Outline {
        head: HeadKind::tied(tied),
        eps: s.eps,
        max_context: Some(c.dim_or("max_position_embeddings", 131_072)?),
        ..Outline::new(s.width, s.layers as u64, vocabulary)
    };
    let own = &s.rules[..s.shared_from];
    let sources: Vec<usize> = s.rules[s.shared_from..].iter().map(|r| source(own, *r)).collect();
    let scale = (s.width as f64).sqrt();
    let mut decoder = o.sharing(
        p,
        |p, i| {
            let i = i as usize;
            let from = i.checked_sub(s.shared_from).map(|shared| sources[shared]);
            let place = Place::new(s.rules[i], Layer4::new(p, &s, i, from));
            Ok(match from {
                Some(from) => place.reading(from),
                None => place.source(sources.contains(&i)),
            })
        },
        move |call| {
            let h = call.embedded * scale;
            let extra = extra.as_ref().map(|e| e.forward(call.tokens, h));
            (h, Gemma4Carried { extra, stored: Vec::new() })
        },
    )?;
    if let Some(cap) = cap {
        decoder = decoder.with_logits(move |logits| activations::softcap(cap, logits));
    }
    let decoder = decoder.with_packing(QuantOverride::EightBit, &["router.proj"]);
    Ok(decoder.with_experts(s.routed.map(|(experts, _)| experts)).built())
}

/// The last layer of a kind that has keys and values of its own.
fn source(own: &[MaskRule], rule: MaskRule) -> usize {
    own.iter().rposition(|r| *r == rule).unwrap_or(0)
}

/// The extra input of every layer: a second embedding mixed with a projection of the first.
struct ExtraInput {
    table: Embedding,
    projection: Linear,
    norm: RmsNorm,
    layers: usize,
    size: u64,
    width: u64,
}

impl ExtraInput {
    fn new(p: &mut ParamBuilder, s: &Settings, vocabulary: u64) -> Self {
        let all = s.layers as u64 * s.per_layer;
        Self {
            table: Embedding::new(p, "embed_tokens_per_layer", vocabulary, all),
            projection: Linear::new(p, "per_layer_model_projection", s.width, all, false),
            norm: RmsNorm::new(p, "per_layer_projection_norm", s.per_layer, s.eps),
            layers: s.layers,
            size: s.per_layer,
            width: s.width,
        }
    }

    /// The inputs `[batch, tokens, layers, size]`.
    fn forward<'t>(&self, tokens: Var<'t>, h: Var<'t>) -> Var<'t> {
        let parts = [self.layers as i64, self.size as i64];
        let rows = (self.table.forward(tokens) * (self.size as f64).sqrt()).unflatten(-1, &parts);
        let projected = self.projection.forward(h) * (self.width as f64).powf(-0.5);
        (self.norm.forward(projected.unflatten(-1, &parts)) + rows) * 2f64.powf(-0.5)
    }
}
