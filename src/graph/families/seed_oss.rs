//! Seed-OSS: Llama's layers. A tied head multiplies with the embedding itself, which must not be packed then.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let dims = Dims::read(c)?;
    let heads = Heads { dim: c.positive("head_dim")?, ..dims.heads(c)? };
    let tied = c.bool_or("tie_word_embeddings", true)?;
    let biases = Biases {
        qkv: c.bool_or("attention_bias", false)?,
        output: c.bool_or("attention_out_bias", false)?,
    };
    let rope = RopeModule::read(c, heads.dim, 10_000.0, dims.max_context)?;
    let head = if tied { HeadKind::TiedUnpacked } else { HeadKind::Own };
    let dense = Dense {
        biases,
        mlp_bias: c.bool_or("mlp_bias", false)?,
        ..Dense::new(&dims, heads, rope, head, c.number_or("rms_norm_eps", 1e-5)?)
    };
    Ok(dense.decoder(p).built())
}
