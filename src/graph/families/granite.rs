//! Granite: Llama's block with multipliers on embedding, attention, residuals and logits. MiniCPM is similar.

use crate::graph::parts::prelude::*;

/// `granite`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let heads = d.heads(c)?;
    let rope = RopeModule::read_as(c, heads.dim, 10_000.0, false, d.max_context)?;
    let logits_scaling = c.number_or("logits_scaling", 1.0)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", true)?);
    let dense = Dense {
        biases: Biases::all(c.bool_or("attention_bias", false)?),
        mlp_bias: c.bool_or("mlp_bias", false)?,
        scale: Some(c.number_or("attention_multiplier", 1.0)?),
        residual: Residual::Scaled(c.number_or("residual_multiplier", 1.0)?),
        ..Dense::new(&d, heads, rope, head, c.number_or("rms_norm_eps", 1e-5)?)
    };
    let decoder = dense
        .decoder(p)
        .with_embedding_scale(c.number_or("embedding_multiplier", 1.0)?)
        .with_logits(move |logits| logits / logits_scaling)
        .with_packing(QuantOverride::EightBit, &["self_attn.o_proj", "mlp.down_proj", "lm_head"]);
    Ok(decoder.built())
}

/// `minicpm`. A tied head multiplies with the embedding itself, which must not be packed then.
pub(super) fn build_minicpm(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let heads = d.heads(c)?;
    let rope = RopeModule::read(c, heads.dim, 1_000_000.0, d.max_context)?;
    let number = |key: &str| c.opt_number(key)?.ok_or_else(|| c.invalid(key, "a number"));
    let residual = Residual::Scaled(number("scale_depth")? / (d.layers as f64).sqrt());
    let base = c.positive("dim_model_base")?;
    let tied = c.bool_or("tie_word_embeddings", false)?;
    let head = if tied { HeadKind::TiedUnpacked } else { HeadKind::Own };
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let dense = Dense { residual, ..Dense::new(&d, heads, rope, head, eps) };
    let mut decoder = dense.decoder(p);
    if !tied {
        let divisor = d.width as f64 / base as f64;
        decoder.norm = Box::new(DividedNorm { norm: decoder.norm, divisor });
    }
    Ok(decoder.with_embedding_scale(number("scale_emb")?).built())
}
