//! Qwen3 dense: Llama's block with norms over each query and key head. Qwen3-VL wraps it.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let heads = Heads { dim: c.positive("head_dim")?, ..d.heads(c)? };
    let eps = c.number_or("rms_norm_eps", 1e-6)?;
    let rope = rope(c, heads.dim, d.max_context)?;
    let head = HeadKind::tied(c.bool("tie_word_embeddings")?);
    let norms = Some((["self_attn.q_norm", "self_attn.k_norm"], NormPlace::Rows));
    let dense = Dense { norms, ..Dense::new(&d, heads, rope, head, eps) };
    Ok(dense.decoder(p).built())
}

/// `qwen3_vl`: the text model under `language_model`.
pub(super) fn build_vl(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = if c.has("text_config") { text_config(c)? } else { c.clone() };
    p.scope("language_model", |p| build(&text, p))
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
    attention.with_usual_norms(p, NormPlace::Rows, eps)
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
