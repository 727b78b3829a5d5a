//! Mamba-2 models without attention.

use crate::graph::parts::mamba2_mixer::time_limit;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let width = c.positive("hidden_size")?;
    let state =
        if c.opt_dim("ssm_state_size")?.is_some() { "ssm_state_size" } else { "state_size" };
    let sizes = ["num_heads", "head_dim", "n_groups", state, "conv_kernel"];
    let dims = Mamba2Dims::read(c, width, sizes)?;
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
        head: HeadKind::tied(c.bool("tie_word_embeddings")?),
        eps: c.number_or("layer_norm_epsilon", 1e-5)?,
        max_context: c.opt_dim("max_position_embeddings")?,
        names: Names::BACKBONE,
        ..Outline::new(width, layer_count(c)?, c.positive("vocab_size")?)
    };
    let decoder = outline.decoder(p, |p, _| {
        let norm = |p: &mut ParamBuilder| {
            GatedNorm::After(p.raw("norm.weight", &[dims.inner]), outline.eps)
        };
        let mixer = Mamba2::new(p, "mixer", dims, settings, norm);
        let block = Half::mixer(Norms::before(RmsNorm::new(p, "norm", width, 1e-5)), mixer)
            .with_residual(Residual::Swapped);
        Ok((MaskRule::Recurrent(2), block))
    })?;
    Ok(decoder.built())
}
