//! Keys of the configuration that many families share.

use crate::graph::prelude::*;

/// The text model's part of a multimodal configuration. A missing `tie_word_embeddings` is taken from the outer one.
///
/// # Errors
/// When `text_config` is missing or no object.
pub fn text_config(c: &Config) -> Result<Config, ConfigError> {
    let text = c.opt_object("text_config")?.ok_or_else(|| c.invalid("text_config", "an object"))?;
    Ok(match c.get("tie_word_embeddings") {
        Some(tied) if !text.has("tie_word_embeddings") => {
            text.with("tie_word_embeddings", tied.clone())
        }
        _ => text,
    })
}

/// The masks of layers that `layer_types` calls `full_attention` or not, with the window of the others.
///
/// # Errors
/// When the list does not fit the number of layers, knows no full layer, or the window is missing.
pub fn layer_type_rules(
    c: &Config,
    types: &[String],
    layers: usize,
) -> Result<Vec<MaskRule>, ConfigError> {
    if types.len() != layers {
        return Err(c.invalid("layer_types", format!("{layers} entries, one per layer")));
    }
    let window = c.opt_dim("sliding_window")?;
    types
        .iter()
        .map(|t| match (t.as_str(), window) {
            ("full_attention", _) => Ok(MaskRule::Full),
            (_, Some(w)) if w > 0 => Ok(MaskRule::Window(w as u32)),
            _ => Err(c.invalid("sliding_window", "a size, because layer_types has sliding layers")),
        })
        .collect()
}

/// The masks of layers that `layer_types` calls `full_attention` or `sliding_attention`, and nothing else.
///
/// # Errors
/// When the list knows another kind.
pub fn window_rules(
    c: &Config,
    types: &[String],
    window: MaskRule,
) -> Result<Vec<MaskRule>, ConfigError> {
    let rule = |kind: &String| match kind.as_str() {
        "full_attention" => Ok(MaskRule::Full),
        "sliding_attention" => Ok(window),
        _ => Err(c.invalid("layer_types", "'full_attention' or 'sliding_attention'")),
    };
    types.iter().map(rule).collect()
}

/// Number of key and value heads; as many as query heads when the configuration does not say.
///
/// # Errors
/// When the value is out of range.
pub fn kv_heads(c: &Config, query: u64) -> Result<u64, ConfigError> {
    match c.opt_dim("num_key_value_heads")? {
        Some(0) => Err(c.invalid("num_key_value_heads", "a whole number of at least 1")),
        Some(n) => Ok(n),
        None => Ok(query),
    }
}

/// Number of layers, bounded so that a hostile configuration costs nothing.
///
/// # Errors
/// When the key is missing or out of range.
pub fn layer_count(c: &Config) -> Result<u64, ConfigError> {
    layer_count_at(c, "num_hidden_layers")
}

/// [`layer_count`] with the family's default.
///
/// # Errors
/// When the key is out of range.
pub fn layer_count_or(c: &Config, default: u64) -> Result<u64, ConfigError> {
    match c.opt_dim("num_hidden_layers")? {
        Some(_) => layer_count(c),
        None => Ok(default),
    }
}

/// [`layer_count`] under the family's key.
///
/// # Errors
/// When the key is missing or out of range.
pub fn layer_count_at(c: &Config, key: &str) -> Result<u64, ConfigError> {
    match c.positive(key)? {
        n if n <= 4096 => Ok(n),
        _ => Err(c.invalid(key, "a whole number from 1 to 4096")),
    }
}

/// Features per head: `head_dim`, or the width shared out among the query heads when it is absent or 0.
///
/// # Errors
/// When the value is out of range.
pub fn head_dim(c: &Config, width: u64, query: u64) -> Result<u64, ConfigError> {
    match c.opt_dim("head_dim")? {
        Some(d) if d > 0 => Ok(d),
        _ => Ok(width / query.max(1)),
    }
}

/// Number of routed experts and how many a token uses, under the family's keys.
///
/// # Errors
/// When a key is missing or a token would use more experts than there are.
pub fn experts(c: &Config, total: &str, chosen: &str) -> Result<Experts, ConfigError> {
    let experts = Experts { total: c.positive(total)?, chosen: c.positive(chosen)? };
    if experts.chosen > experts.total {
        return Err(c.invalid(chosen, format!("at most {total} ({})", experts.total)));
    }
    Ok(experts)
}

/// Number of routed experts and how many a token uses, under the family's keys and with its defaults.
///
/// # Errors
/// When a value is zero or out of range, or a token would use more experts than there are.
pub fn experts_or(
    c: &Config,
    total: (&str, u64),
    chosen: (&str, u64),
) -> Result<Experts, ConfigError> {
    let c = &c
        .clone()
        .with(total.0, c.dim_or(total.0, total.1)?)
        .with(chosen.0, c.dim_or(chosen.0, chosen.1)?);
    experts(c, total.0, chosen.0)
}
