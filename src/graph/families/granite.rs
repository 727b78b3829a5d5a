//! Granite: Llama's block with multipliers on embedding, attention, residuals and logits. MiniCPM is similar.

use super::blocks::{Norms, Residual, Sandwich};
use super::common::{Attention, Biases, GatedMlp};
use super::frame::Norm;
use super::shell::{Dims, HeadKind};
use crate::graph::nn::{RmsNorm, RopeModule, RopeScaling};
use crate::graph::params::ParamBuilder;
use crate::graph::tape::{Tape, Var};
use crate::graph::{Built, QuantOverride};
use crate::model::{Config, ConfigError};

/// `granite`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let heads = d.heads(c)?;
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let rope = RopeModule::new(
        heads.dim,
        c.number_or("rope_theta", 10_000.0)?,
        false,
        RopeScaling::read(c, "rope_scaling")?.as_ref(),
        d.max_context,
    )?;
    let scale = c.number_or("attention_multiplier", 1.0)?;
    let residual = Residual::Scaled(c.number_or("residual_multiplier", 1.0)?);
    let logits_scaling = c.number_or("logits_scaling", 1.0)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", true)?);
    let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, d.width, eps);
    let mut decoder = d.shell(head).decoder(p, &d.full(), norm, |p, _| {
        let rope = Some(rope.clone());
        let attention = Attention::new(p, "self_attn", d.width, heads, biases, rope);
        Sandwich::new(
            attention.with_scale(scale),
            Norms::before(norm(p, "input_layernorm")),
            GatedMlp::new(p, "mlp", d.width, d.hidden, mlp_bias),
            Norms::before(norm(p, "post_attention_layernorm")),
        )
        .with_residuals(residual, residual)
    });
    decoder.on_logits = Some(Box::new(move |t, logits| t.div(logits, logits_scaling)));
    let multiplier = c.number_or("embedding_multiplier", 1.0)?;
    let decoder = decoder.with_embedding_scale(multiplier).with_quant_override(quant_override);
    Ok(decoder.built(d.max_context))
}

/// `minicpm`. A tied head multiplies with the embedding itself, which must not be packed then.
pub(super) fn build_minicpm(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let heads = d.heads(c)?;
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let rope = RopeModule::new(
        heads.dim,
        c.number_or("rope_theta", 1_000_000.0)?,
        c.bool_or("rope_traditional", false)?,
        RopeScaling::read(c, "rope_scaling")?.as_ref(),
        d.max_context,
    )?;
    let number = |key: &str| c.opt_number(key)?.ok_or_else(|| c.invalid(key, "a number"));
    let residual = Residual::Scaled(number("scale_depth")? / (d.layers as f64).sqrt());
    let base = c.positive("dim_model_base")?;
    let tied = c.bool_or("tie_word_embeddings", false)?;
    let head = if tied { HeadKind::TiedUnpacked } else { HeadKind::Own };
    let divisor = (!tied).then_some(d.width as f64 / base as f64);
    let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, d.width, eps);
    let final_norm = |p: &mut ParamBuilder, name: &str| DividedNorm(norm(p, name), divisor);
    let decoder = d.shell(head).decoder(p, &d.full(), final_norm, |p, _| {
        let (biases, rope) = (Biases::default(), Some(rope.clone()));
        Sandwich::new(
            Attention::new(p, "self_attn", d.width, heads, biases, rope),
            Norms::before(norm(p, "input_layernorm")),
            GatedMlp::new(p, "mlp", d.width, d.hidden, false),
            Norms::before(norm(p, "post_attention_layernorm")),
        )
        .with_residuals(residual, residual)
    });
    Ok(decoder.with_embedding_scale(number("scale_emb")?).built(d.max_context))
}

/// A norm, then a division.
struct DividedNorm(RmsNorm, Option<f64>);

impl Norm for DividedNorm {
    fn norm(&self, t: &mut Tape<'_>, x: Var) -> Var {
        let x = self.0.forward(t, x);
        match self.1 {
            Some(divisor) => t.div(x, divisor),
            None => x,
        }
    }
}

/// Output and down projections and the head are packed at 8 bits.
fn quant_override(path: &str) -> QuantOverride {
    let outputs = path.ends_with("self_attn.o_proj") || path.ends_with("mlp.down_proj");
    if outputs || path == "lm_head" { QuantOverride::EightBit } else { QuantOverride::Default }
}
