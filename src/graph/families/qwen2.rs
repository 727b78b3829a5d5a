//! Qwen2 and Qwen2.5: Llama's block with biases on queries, keys and values. Qwen2-VL and Qwen2.5-VL wrap it.
//! MiMo is the same build with other defaults.

use crate::graph::parts::prelude::*;

/// `qwen2`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    dense(c, p, 1_000_000.0, true)
}

/// `mimo`; its multi-token-prediction layers are not part of the converted model.
pub(super) fn build_mimo(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    dense(c, p, 10_000.0, false)
}

/// `qwen2_vl`, `qwen2_5_vl`: the text model under `language_model`.
pub(super) fn build_vl(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = if c.has("text_config") { text_config(c)? } else { c.clone() };
    p.scope("language_model", |p| build(&text, p))
}

/// The same with heads of `head_dim` features, which mlx-lm's Qwen 2 does not know.
pub(super) fn build_sized(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    with_heads(c, p, 1_000_000.0, true, Dims::sized_heads)
}

fn dense(c: &Config, p: &mut ParamBuilder, theta: f64, tied: bool) -> Result<Built, ConfigError> {
    with_heads(c, p, theta, tied, Dims::heads)
}

fn with_heads(
    c: &Config,
    p: &mut ParamBuilder,
    theta: f64,
    tied: bool,
    heads: fn(&Dims, &Config) -> Result<Heads, ConfigError>,
) -> Result<Built, ConfigError> {
    let d =
        Dims { max_context: Some(c.dim_or("max_position_embeddings", 32_768)?), ..Dims::read(c)? };
    let heads = heads(&d, c)?;
    let rope = RopeModule::read(c, heads.dim, theta, d.max_context)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", tied)?);
    let dense = Dense {
        biases: Biases { qkv: true, output: false },
        ..Dense::new(&d, heads, rope, head, c.number_or("rms_norm_eps", 1e-5)?)
    };
    Ok(dense.decoder(p).built())
}
