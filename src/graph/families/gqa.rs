//! Families that are Llama's block with other biases, defaults or rotary embedding: Seed-OSS, InternLM 3,
//! ERNIE 4.5, Helium, TeleChat 3.

use crate::graph::parts::prelude::*;

/// `seed_oss`. A tied head multiplies with the embedding itself, which must not be packed then.
pub(super) fn build_seed_oss(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
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

/// `internlm3`.
pub(super) fn build_internlm3(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
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

/// What the InternLM classes demand of `rope_scaling`, which names its kind under `kind_key`.
pub(super) fn check_scaling(c: &Config, kind_key: &str) -> Result<(), ConfigError> {
    let Some(scaling) = c.opt_object("rope_scaling")? else {
        return Ok(());
    };
    match scaling.opt_str(kind_key)? {
        _ if scaling.values().is_empty() => Ok(()),
        Some("linear" | "dynamic") if scaling.has("factor") => Ok(()),
        _ => Err(c.invalid(
            "rope_scaling",
            format!("the keys 'factor' and '{kind_key}', which is 'linear' or 'dynamic'"),
        )),
    }
}

/// `ernie4_5`.
pub(super) fn build_ernie(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
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

/// `helium`. There is an `lm_head` even when the head is tied.
pub(super) fn build_helium(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
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

/// `telechat3`.
pub(super) fn build_telechat3(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
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
