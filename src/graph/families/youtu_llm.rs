//! Youtu-LLM: latent attention with expanded keys and values, dense MLPs.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_defaults(&[
        ("hidden_size", 2048.into()),
        ("num_hidden_layers", 32.into()),
        ("num_attention_heads", 16.into()),
    ]);
    let dims = MlaDims::read(c)?;
    let eps = c.number_or("rms_norm_eps", 1e-6)?;
    let max = c.dim_or("max_position_embeddings", 131_072)?;
    let rope =
        RopeModule::read_as(c, dims.rope, 1.6e6, c.bool_or("rope_traditional", true)?, Some(max))?;
    let attention = ExpandedSettings {
        bias: c.bool_or("attention_bias", false)?,
        eps,
        rope,
        scale: dims.scale(None)?,
        spread: RotaryCopies::Repeat,
    };
    let outline = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", true)?),
        eps,
        max_context: Some(max),
        ..Outline::new(dims.width, layer_count(c)?, c.dim_or("vocab_size", 128_256)?)
    };
    let hidden = c.dim_or("intermediate_size", 6144)?;
    let bias = c.bool_or("mlp_bias", false)?;
    let decoder = outline.decoder(p, |p, _| {
        let mixer = ExpandedAttention::new(p, dims, attention.clone());
        let mlp = GatedMlp::up_first(p, "mlp", dims.width, hidden, bias);
        let block = Sandwich::pre_norm(p, dims.width, eps, mixer, mlp);
        Ok((MaskRule::Full, block))
    })?;
    Ok(decoder.built())
}
