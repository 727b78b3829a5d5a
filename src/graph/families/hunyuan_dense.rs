//! Hunyuan dense: Llama's block with norms over queries and keys behind the rotation, and a rope whose base is raised
//! by `alpha`.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let max = c.dim_or("max_position_embeddings", 32_768)?;
    let d = Dims { max_context: Some(max), ..Dims::read(c)? };
    let heads = d.sized_heads(c)?;
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let head_norms = c.bool_or("use_qk_norm", true)?;
    let names = ["self_attn.query_layernorm", "self_attn.key_layernorm"];
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", false)?);
    let dense = Dense {
        biases: Biases::all(c.bool_or("attention_bias", false)?),
        norms: head_norms.then_some((names, NormPlace::Rotated)),
        ..Dense::new(&d, heads, rope(c, heads.dim)?, head, eps)
    };
    Ok(dense.decoder(p).built())
}

fn rope(c: &Config, dim: u64) -> Result<RopeModule, ConfigError> {
    let mut alpha = 1.0;
    if let Some(scaling) = c.opt_object("rope_scaling")?.filter(|s| !s.values().is_empty()) {
        if !["alpha", "factor", "type"].iter().all(|key| scaling.has(key)) {
            return Err(c.invalid("rope_scaling", "the keys 'alpha', 'factor' and 'type'"));
        }
        alpha = scaling.number_or("alpha", 1.0)?;
    }
    let dims = dim as f64;
    let base = c.number_or("rope_theta", 10_000.0)? * f64::powf(alpha, dims / (dims - 2.0));
    let dims = u32::try_from(dim).unwrap_or(0);
    Ok(RopeModule::with_table(dim, FrequencyTable::Plain { dims, base, negative: false }))
}
