//! Llama and models of the same build: Mistral, Yi, TinyLlama, SmolLM2, iQuest-Coder, XVERSE.
//!
//! Layers may be full or sliding-window attention (`layer_types`); a `sliding_window` without `layer_types` is
//! ignored, as mlx-lm does.

use super::common::{Attention, Biases, GatedMlp, Head, Heads, kv_heads, layer_count};
use super::frame::{Block, Decoder, MaskRule, PreNorm};
use crate::graph::Built;
use crate::graph::cache::CacheKind;
use crate::graph::nn::{Embedding, RmsNorm, RopeModule, RopeScaling};
use crate::graph::params::ParamBuilder;
use crate::model::{Config, ConfigError};

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let width = c.positive("hidden_size")?;
    let query = c.positive("num_attention_heads")?;
    let dim = match c.opt_dim("head_dim")? {
        Some(d) if d > 0 => d,
        _ => width / query,
    };
    let heads = Heads { query, kv: kv_heads(c, query)?, dim };
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let hidden = c.positive("intermediate_size")?;
    let vocabulary = c.positive("vocab_size")?;
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let max_context = c.opt_dim("max_position_embeddings")?;
    let rope = RopeModule::new(
        dim,
        c.number_or("rope_theta", 10_000.0)?,
        c.bool_or("rope_traditional", false)?,
        RopeScaling::read(c, "rope_scaling")?.as_ref(),
        max_context,
    )?;
    let rules = mask_rules(c)?;

    let (embed, layers, norm) = p.scope("model", |p| {
        let embed = Embedding::new(p, "embed_tokens", vocabulary, width);
        let layers = rules.iter().enumerate().map(|(i, rule)| {
            let block = p.scope(&format!("layers.{i}"), |p| {
                let rope = Some(rope.clone());
                let attention = Attention::new(p, "self_attn", width, heads, biases, rope);
                let mlp = GatedMlp::new(p, "mlp", width, hidden, mlp_bias);
                PreNorm::new(p, width, eps, attention, mlp)
            });
            (*rule, Box::new(block) as Box<dyn Block>)
        });
        let layers: Vec<_> = layers.collect();
        (embed, layers, RmsNorm::new(p, "norm", width, eps))
    });
    let tied = c.bool_or("tie_word_embeddings", true)?;
    let head = Head::new(p, embed, tied, width, vocabulary);
    let caches = rules
        .iter()
        .map(|rule| match *rule {
            MaskRule::Window(max_size) => CacheKind::Rotating { max_size, keep: 0 },
            _ => CacheKind::Kv,
        })
        .collect();
    Ok(Built {
        layers: layers.len() as u64,
        network: Box::new(Decoder::new(embed, layers, norm, head)),
        caches,
        experts: None,
        max_context,
    })
}

fn mask_rules(c: &Config) -> Result<Vec<MaskRule>, ConfigError> {
    let Some(types) = c.opt_strings("layer_types")? else {
        return Ok(vec![MaskRule::Full; layer_count(c)? as usize]);
    };
    if !types.iter().any(|t| t == "full_attention") {
        return Err(c.invalid("layer_types", "at least one 'full_attention'"));
    }
    let window = c.opt_dim("sliding_window")?;
    types
        .iter()
        .map(|t| match (t.as_str(), window) {
            ("sliding_attention", Some(w)) if w > 0 => Ok(MaskRule::Window(w as u32)),
            ("sliding_attention", _) => {
                Err(c.invalid("sliding_window", "a size, because layer_types has sliding layers"))
            }
            _ => Ok(MaskRule::Full),
        })
        .collect()
}
