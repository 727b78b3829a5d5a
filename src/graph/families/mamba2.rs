//! Mamba-2 models without attention.

use crate::graph::parts::frame::Residual;
use crate::graph::parts::mamba2_mixer::time_limit;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let (heads, head_dim) = (c.positive("num_heads")?, c.positive("head_dim")?);
    let state = match c.opt_dim("ssm_state_size")? {
        Some(n) => n,
        None => c.positive("state_size")?,
    };
    let width = c.positive("hidden_size")?;
    let dims = Mamba2Dims {
        width,
        inner: heads * head_dim,
        heads,
        head_dim,
        groups: c.positive("n_groups")?,
        state,
        kernel: c.positive("conv_kernel")?,
    };
    let dims = dims.checked(c, "n_groups", "conv_kernel")?;
    let bias = c.bool_or("use_bias", false)?;
    c.dim("intermediate_size")?;
    if c.get("time_step_limit").is_none() {
        return Err(c.invalid("time_step_limit", "a list of two numbers"));
    }
    let settings = Mamba2Settings {
        in_bias: bias,
        out_bias: bias,
        conv_bias: c.bool("use_conv_bias")?,
        a_log_f32: false,
        limit: time_limit(c, "time_step_limit", [0.0; 2])?,
    };
    let outline = Outline {
        layers: layer_count(c)?,
        width,
        vocabulary: c.positive("vocab_size")?,
        eps: c.number_or("layer_norm_epsilon", 1e-5)?,
        tied: c.bool("tie_word_embeddings")?,
        max_context: c.opt_dim("max_position_embeddings")?,
    };
    let decoder = outline.decoder_around(
        p,
        Around::named(["backbone", "embeddings", "norm_f"]),
        |p, _| {
            let norm = |p: &mut ParamBuilder| {
                GatedNorm::After(p.raw("norm.weight", &[dims.inner]), outline.eps)
            };
            let mixer = Mamba2::new(p, "mixer", dims, settings, norm);
            let block = Residual::new(p, "norm", width, 1e-5, mixer).swapped();
            Ok((MaskRule::None, block))
        },
    )?;
    Ok(Built {
        layers: outline.layers,
        network: Box::new(decoder),
        caches: vec![CacheKind::Arrays(2); outline.layers as usize],
        experts: None,
        max_context: outline.max_context,
    })
}
