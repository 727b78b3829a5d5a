//! Llama and models of the same build: Mistral, Yi, TinyLlama, SmolLM2, iQuest-Coder, XVERSE; SmolLM3, whose layers
//! partly have no rotary embedding; Mistral 3 and Pixtral, which wrap the text model.
//!
//! Layers may be full or sliding-window attention (`layer_types`); a `sliding_window` without `layer_types` is
//! ignored, as mlx-lm does.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    build_with(c, p, |_| true)
}

/// A Llama model whose layer `i` has a rotary embedding if `rotary(i)`.
pub(super) fn build_with(
    c: &Config,
    p: &mut ParamBuilder,
    rotary: impl Fn(usize) -> bool,
) -> Result<Built, ConfigError> {
    let (d, rules) = dims_and_rules(c)?;
    let heads = d.optional_heads(c)?;
    let rope = RopeModule::read(c, heads.dim, 10_000.0, d.max_context)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", true)?);
    let dense = Dense {
        biases: Biases::all(c.bool_or("attention_bias", false)?),
        mlp_bias: c.bool_or("mlp_bias", false)?,
        ..Dense::new(&d, heads, rope, head, c.number_or("rms_norm_eps", 1e-5)?)
    };
    Ok(dense.masked(p, &rules, rotary).built())
}

/// Sizes and masks. `layer_types` counts the layers if it is there.
pub(super) fn dims_and_rules(c: &Config) -> Result<(Dims, Vec<MaskRule>), ConfigError> {
    let mut d = Dims::read(c)?;
    let Some(types) = c.opt_strings("layer_types")? else {
        return Ok((d, d.full()));
    };
    if !types.iter().any(|t| t == "full_attention") {
        return Err(c.invalid("layer_types", "at least one 'full_attention'"));
    }
    d.layers = types.len();
    let sliding = types.iter().map(|t| match t.as_str() {
        "sliding_attention" => t.clone(),
        _ => "full_attention".to_owned(),
    });
    let types: Vec<String> = sliding.collect();
    let rules = layer_type_rules(c, &types, types.len())?;
    Ok((d, rules))
}

/// The caches of a model class without `make_cache`: a plain one per layer, sliding layers included.
pub(super) fn plain_caches(mut built: Built) -> Built {
    built.caches = vec![CacheKind::Kv; built.layers as usize];
    built
}
