//! ERNIE 4.5: Llama's layers with adjacent pairs of features rotated.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    if !c.has("head_dim") {
        return Err(c.invalid("head_dim", "a whole number or null"));
    }
    let dims = Dims::read(c)?;
    let heads = dims.sized_heads(c)?;
    let bias = c.bool_or("use_bias", false)?;
    let rope = RopeModule::plain(heads.dim, true, c.number_or("rope_theta", 10_000.0)?);
    let head = HeadKind::tied(c.bool("tie_word_embeddings")?);
    let dense = Dense {
        biases: Biases::all(bias),
        mlp_bias: bias,
        ..Dense::new(&dims, heads, rope, head, c.number_or("rms_norm_eps", 1e-5)?)
    };
    Ok(dense.decoder(p).built())
}
