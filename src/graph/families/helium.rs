//! Helium: Llama's layers with adjacent pairs of features rotated. There is an `lm_head` even when the head is tied.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let dims = Dims::read(c)?;
    let heads = dims.heads(c)?;
    let tied = c.bool("tie_word_embeddings")?;
    let rope = RopeModule::plain(heads.dim, true, c.number_or("rope_theta", 10_000.0)?);
    let head = if tied { HeadKind::TiedBesideOwn } else { HeadKind::Own };
    let dense = Dense {
        biases: Biases { qkv: c.bool_or("attention_bias", false)?, output: false },
        mlp_bias: c.bool_or("mlp_bias", false)?,
        ..Dense::new(&dims, heads, rope, head, c.number_or("rms_norm_eps", 1e-5)?)
    };
    Ok(dense.decoder(p).built())
}
