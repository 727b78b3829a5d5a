//! Granite: Llama's block with multipliers on embedding, attention, residuals and logits. MiniCPM is similar.

use crate::graph::parts::prelude::*;

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
    let residual = c.number_or("residual_multiplier", 1.0)?;
    let logits_scaling = c.number_or("logits_scaling", 1.0)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", true)?);
    let mut decoder = d.outline(head, eps).layered(p, &d.full(), |p, _| {
        let rope = Some(rope.clone());
        let attention = Attention::new(p, "self_attn", d.width, heads, biases, rope);
        let mlp = GatedMlp::new(p, "mlp", d.width, d.hidden, mlp_bias);
        Sandwich::pre_norm(p, d.width, eps, attention.with_scale(scale), mlp)
            .with_residual_scale(residual)
    });
    decoder.on_logits = Some(Box::new(move |t, logits| t.div(logits, logits_scaling)));
    let multiplier = c.number_or("embedding_multiplier", 1.0)?;
    let decoder = decoder.with_embedding_scale(multiplier).with_quant_override(quant_override);
    Ok(decoder.built())
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
    let residual = number("scale_depth")? / (d.layers as f64).sqrt();
    let base = c.positive("dim_model_base")?;
    let tied = c.bool_or("tie_word_embeddings", false)?;
    let head = if tied { HeadKind::TiedUnpacked } else { HeadKind::Own };
    let mut decoder = d.outline(head, eps).layered(p, &d.full(), |p, _| {
        let (biases, rope) = (Biases::default(), Some(rope.clone()));
        let attention = Attention::new(p, "self_attn", d.width, heads, biases, rope);
        let mlp = GatedMlp::new(p, "mlp", d.width, d.hidden, false);
        Sandwich::pre_norm(p, d.width, eps, attention, mlp).with_residual_scale(residual)
    });
    if !tied {
        let divisor = d.width as f64 / base as f64;
        decoder.norm = Box::new(DividedNorm { norm: decoder.norm, divisor });
    }
    Ok(decoder.with_embedding_scale(number("scale_emb")?).built())
}

/// Output and down projections and the head are packed at 8 bits.
fn quant_override(path: &str) -> QuantOverride {
    let outputs = path.ends_with("self_attn.o_proj") || path.ends_with("mlp.down_proj");
    if outputs || path == "lm_head" { QuantOverride::EightBit } else { QuantOverride::Default }
}
