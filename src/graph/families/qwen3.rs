//! Qwen3 dense: Llama's block with norms over each query and key head.

use super::common::{Attention, Biases, GatedMlp, Head, Heads, NormPlace, layer_count};
use super::frame::{Block, Decoder, MaskRule, PreNorm};
use crate::graph::Built;
use crate::graph::cache::CacheKind;
use crate::graph::nn::{Embedding, RmsNorm, RopeModule, RopeScaling};
use crate::graph::params::ParamBuilder;
use crate::model::{Config, ConfigError};

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let width = c.positive("hidden_size")?;
    let count = layer_count(c)?;
    let heads = Heads {
        query: c.positive("num_attention_heads")?,
        kv: c.positive("num_key_value_heads")?,
        dim: c.positive("head_dim")?,
    };
    let eps = c.number_or("rms_norm_eps", 1e-6)?;
    let hidden = c.positive("intermediate_size")?;
    let vocabulary = c.positive("vocab_size")?;
    let tied = c.bool("tie_word_embeddings")?;
    let max_context = c.opt_dim("max_position_embeddings")?;
    let rope = rope(c, heads.dim, max_context)?;

    let (embed, layers, norm) = p.scope("model", |p| {
        let embed = Embedding::new(p, "embed_tokens", vocabulary, width);
        let layers = (0..count).map(|i| {
            let block = p.scope(&format!("layers.{i}"), |p| {
                let attention = attention(p, width, heads, eps, &rope);
                let mlp = GatedMlp::new(p, "mlp", width, hidden, false);
                PreNorm::new(p, width, eps, attention, mlp)
            });
            (MaskRule::Full, Box::new(block) as Box<dyn Block>)
        });
        let layers: Vec<_> = layers.collect();
        (embed, layers, RmsNorm::new(p, "norm", width, eps))
    });
    let head = Head::new(p, embed, tied, width, vocabulary);
    Ok(Built {
        layers: count,
        network: Box::new(Decoder::new(embed, layers, norm, head)),
        caches: vec![CacheKind::Kv; count as usize],
        experts: None,
        max_context,
    })
}

/// Attention without biases, with a norm over each query and key head.
pub(super) fn attention(
    p: &mut ParamBuilder,
    width: u64,
    heads: Heads,
    eps: f64,
    rope: &RopeModule,
) -> Attention {
    let attention =
        Attention::new(p, "self_attn", width, heads, Biases::default(), Some(rope.clone()));
    let (query, key) = p.scope("self_attn", |p| {
        (RmsNorm::new(p, "q_norm", heads.dim, eps), RmsNorm::new(p, "k_norm", heads.dim, eps))
    });
    attention.with_norms(query, key, NormPlace::Rows)
}

/// The rope of the Qwen3 generation: `rope_theta` and `rope_scaling`, or both within `rope_parameters`.
pub(super) fn rope(
    c: &Config,
    dim: u64,
    max_context: Option<u64>,
) -> Result<RopeModule, ConfigError> {
    let nested = RopeScaling::read(c, "rope_parameters")?;
    let theta = match (c.opt_number("rope_theta")?, &nested) {
        (Some(theta), _) => theta,
        (None, Some(n)) => n.values().number_or("rope_theta", 10_000.0)?,
        (None, None) => 10_000.0,
    };
    let scaling = RopeScaling::read(c, "rope_scaling")?.or(nested);
    RopeModule::new(dim, theta, false, scaling.as_ref(), max_context)
}
