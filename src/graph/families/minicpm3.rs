//! MiniCPM3: latent attention with expanded keys and values, LongRoPE, scaled residuals, embedding and logits.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let (width, heads) = (c.positive("hidden_size")?, c.positive("num_attention_heads")?);
    let dims = MlaDims {
        width,
        heads,
        q_rank: Some(c.positive("q_lora_rank")?),
        kv_rank: c.positive("kv_lora_rank")?,
        nope: c.positive("qk_nope_head_dim")?,
        rope: c.positive("qk_rope_head_dim")?,
        value: width / heads,
    };
    let max = c.dim_or("max_position_embeddings", 131_072)?;
    let attention = ExpandedSettings {
        bias: c.bool_or("attention_bias", false)?,
        eps: 1e-5,
        rope: rope(c, &dims, max)?,
        scale: dims.scale(None)?,
        spread: RotaryCopies::Broadcast,
    };
    let outline = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
        eps: c.number_or("rms_norm_eps", 1e-5)?,
        max_context: Some(max),
        ..Outline::new(width, layer_count(c)?, c.positive("vocab_size")?)
    };
    let hidden = c.positive("intermediate_size")?;
    let residual = c.number("scale_depth")? / (outline.layers as f64).sqrt();
    let mut decoder = outline.decoder(p, |p, _| {
        let mixer = ExpandedAttention::new(p, dims, attention.clone());
        let mlp = GatedMlp::up_first(p, "mlp", width, hidden, false);
        let block =
            Sandwich::pre_norm(p, width, outline.eps, mixer, mlp).with_residual_scale(residual);
        Ok((MaskRule::Full, block))
    })?;
    let embedding_scale = c.number("scale_emb")?;
    decoder = decoder.with_embedding(move |x| x * embedding_scale);
    let base_width = c.positive("dim_model_base")?;
    if outline.head == HeadKind::Own {
        let divisor = width as f64 / base_width as f64;
        decoder.norm = Box::new(DividedNorm { norm: decoder.norm, divisor });
    }
    Ok(decoder.built())
}

fn rope(c: &Config, d: &MlaDims, max: u64) -> Result<RopeModule, ConfigError> {
    let Some(scaling) = RopeScaling::read(c, "rope_scaling")? else {
        return Err(
            c.invalid("rope_scaling", "a LongRoPE block, without which mlx-lm cannot build it")
        );
    };
    let original = scaling.values().number_or("original_max_position_embeddings", 4096.0)?;
    let base = c.number_or("rope_theta", 1e6)?;
    let listed = scaling.values().has("long_factor");
    let factors = if listed { scaling.long_factors()? } else { vec![1.0] };
    RopeModule::long(d.rope, base, max, original, factors)
}
