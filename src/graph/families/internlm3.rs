//! InternLM 3: Llama's layers with a bias on queries, keys and values.

use super::internlm2::check_scaling;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let max = c.dim_or("max_position_embeddings", 32_768)?;
    let dims = Dims { max_context: Some(max), ..Dims::read(c)? };
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: kv_heads(c, query)?, dim: dims.width / query };
    check_scaling(c, "rope_type")?;
    let rope = RopeModule::read(c, heads.dim, 10_000.0, dims.max_context)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", false)?);
    let dense = Dense {
        biases: Biases::all(c.bool_or("qkv_bias", false)?),
        mlp_bias: c.bool_or("bias", false)?,
        ..Dense::new(&dims, heads, rope, head, c.number_or("rms_norm_eps", 1e-5)?)
    };
    Ok(dense.decoder(p).built())
}
