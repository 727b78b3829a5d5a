//! TeleChat 3: Llama's layers.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let dims = Dims::read(c)?;
    let heads = dims.sized_heads(c)?;
    let rope = RopeModule::read_as(c, heads.dim, 10_000.0, false, dims.max_context)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", false)?);
    let dense = Dense {
        biases: Biases::all(c.bool_or("attention_bias", false)?),
        mlp_bias: c.bool_or("mlp_bias", false)?,
        ..Dense::new(&dims, heads, rope, head, c.number_or("rms_norm_eps", 1e-5)?)
    };
    Ok(dense.decoder(p).built())
}
