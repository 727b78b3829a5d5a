//! Keys of vision and audio configurations that towers share, and small tensors that they are made of.

use crate::graph::prelude::*;

/// The nested configuration at `key`, or an empty one.
///
/// # Errors
/// When the value is no object.
pub(super) fn nested(c: &Config, key: &str) -> Result<Config, ConfigError> {
    Ok(c.opt_object(key)?.unwrap_or_else(|| c.clone().emptied()))
}

/// The configuration of the text part: nested under one of the usual keys, else the whole one.
///
/// # Errors
/// When the value is no object.
pub(super) fn text(c: &Config) -> Result<Config, ConfigError> {
    for key in ["text_config", "llm_config", "language_config"] {
        if let Some(text) = c.opt_object(key)? {
            return Ok(text);
        }
    }
    Ok(c.clone())
}

/// Hidden size of the text part.
///
/// # Errors
/// When it is out of range.
pub(super) fn text_width(c: &Config, default: u64) -> Result<u64, ConfigError> {
    text(c)?.dim_or("hidden_size", default)
}

/// Number of layers under `key`, bounded so that a hostile configuration costs nothing.
///
/// # Errors
/// When it is out of range.
pub(super) fn depth(v: &Config, key: &str) -> Result<u64, ConfigError> {
    match v.dim(key)? {
        n if n <= 4096 => Ok(n),
        _ => Err(v.invalid(key, "a whole number up to 4096")),
    }
}

/// A size that divides others, so that it may not be zero.
///
/// # Errors
/// When it is zero or out of range.
pub(super) fn divisor(v: &Config, key: &str, default: u64) -> Result<u64, ConfigError> {
    match v.dim_or(key, default)? {
        0 => Err(v.invalid(key, "a whole number of at least 1")),
        n => Ok(n),
    }
}

/// Checks the kind of a tower, which mlx-vlm refuses to build otherwise.
///
/// # Errors
/// When it is another kind.
pub(super) fn check_kind(v: &Config, known: &[&str]) -> Result<(), ConfigError> {
    match v.opt_str("model_type")? {
        Some(kind) if !known.contains(&kind) => Err(v.invalid(
            "model_type",
            format!("one of {}, the towers that mlx-vlm builds here", known.join(", ")),
        )),
        _ => Ok(()),
    }
}

/// The first entry of a size that may be a pair.
///
/// # Errors
/// When it is neither a size nor a list of sizes.
pub(super) fn side(v: &Config, key: &str, default: u64) -> Result<u64, ConfigError> {
    if v.get(key).is_some_and(serde_json::Value::is_array) {
        let list = v.opt_dims(key)?.unwrap_or_default();
        return list.first().copied().ok_or_else(|| v.invalid(key, "at least one size"));
    }
    v.dim_or(key, default)
}

/// Patches along the side of a square image, squared.
///
/// # Errors
/// When a size is zero or out of range.
pub(super) fn patch_count(v: &Config, image: u64, patch: u64) -> Result<u64, ConfigError> {
    let patch = divisor(v, "patch_size", patch)?;
    let n = v.dim_or("image_size", image)? / patch;
    Ok(n.saturating_mul(n))
}

/// A convolution over `kernel` (its sizes, outermost first): weight `[outputs, kernel…, inputs]` and, if it has one, a
/// bias. Convolutions are never packed.
pub(super) fn convolution(
    p: &mut ParamBuilder,
    name: &str,
    [inputs, outputs]: [u64; 2],
    kernel: &[u64],
    bias: bool,
) {
    let mut shape = vec![outputs];
    shape.extend_from_slice(kernel);
    shape.push(inputs);
    p.raw(&format!("{name}.weight"), &shape);
    if bias {
        p.raw(&format!("{name}.bias"), &[outputs]);
    }
}

/// A norm that scales and, if it has a bias, shifts.
pub(super) fn norm(p: &mut ParamBuilder, name: &str, width: u64, bias: bool) {
    p.raw(&format!("{name}.weight"), &[width]);
    if bias {
        p.raw(&format!("{name}.bias"), &[width]);
    }
}
