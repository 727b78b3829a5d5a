//! Families that are Llama's block with other biases, defaults or rotary embedding: Seed-OSS, InternLM 3,
//! ERNIE 4.5, Helium, TeleChat 3.

use crate::graph::parts::prelude::*;

struct Dense {
    dims: Dims,
    heads: Heads,
    biases: Biases,
    mlp_bias: bool,
    rope: RopeModule,
    head: HeadKind,
}

impl Dense {
    fn built(&self, c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
        let d = self.dims;
        let eps = c.number_or("rms_norm_eps", 1e-5)?;
        let decoder = d.outline(self.head, eps).layered(p, &d.full(), |p, _| {
            let rope = Some(self.rope.clone());
            let attention = Attention::new(p, "self_attn", d.width, self.heads, self.biases, rope);
            let mlp = GatedMlp::new(p, "mlp", d.width, d.hidden, self.mlp_bias);
            Sandwich::pre_norm(p, d.width, eps, attention, mlp)
        });
        Ok(decoder.built())
    }
}

/// The rope of `rope_theta`, `rope_traditional` and `rope_scaling`.
fn scaled_rope(c: &Config, dim: u64, max: Option<u64>) -> Result<RopeModule, ConfigError> {
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let traditional = c.bool_or("rope_traditional", false)?;
    let scaling = RopeScaling::read(c, "rope_scaling")?;
    RopeModule::new(dim, theta, traditional, scaling.as_ref(), max)
}

/// `seed_oss`. A tied head multiplies with the embedding itself, which must not be packed then.
pub(super) fn build_seed_oss(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let dims = Dims::read(c)?;
    let heads = Heads { dim: c.positive("head_dim")?, ..dims.heads(c)? };
    let tied = c.bool_or("tie_word_embeddings", true)?;
    let biases = Biases {
        qkv: c.bool_or("attention_bias", false)?,
        output: c.bool_or("attention_out_bias", false)?,
    };
    let dense = Dense {
        dims,
        heads,
        biases,
        mlp_bias: c.bool_or("mlp_bias", false)?,
        rope: scaled_rope(c, heads.dim, dims.max_context)?,
        head: if tied { HeadKind::TiedUnpacked } else { HeadKind::Own },
    };
    dense.built(c, p)
}

/// `internlm3`.
pub(super) fn build_internlm3(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let max = c.dim_or("max_position_embeddings", 32_768)?;
    let dims = Dims { max_context: Some(max), ..Dims::read(c)? };
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: kv_heads(c, query)?, dim: dims.width / query };
    check_scaling(c, "rope_type")?;
    let dense = Dense {
        dims,
        heads,
        biases: Biases::all(c.bool_or("qkv_bias", false)?),
        mlp_bias: c.bool_or("bias", false)?,
        rope: scaled_rope(c, heads.dim, dims.max_context)?,
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
    };
    dense.built(c, p)
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
    let dense = Dense {
        dims,
        heads,
        biases: Biases::all(bias),
        mlp_bias: bias,
        rope: RopeModule::plain(heads.dim, true, c.number_or("rope_theta", 10_000.0)?),
        head: HeadKind::tied(c.bool("tie_word_embeddings")?),
    };
    dense.built(c, p)
}

/// `helium`. There is an `lm_head` even when the head is tied.
pub(super) fn build_helium(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let dims = Dims::read(c)?;
    let heads = dims.heads(c)?;
    let tied = c.bool("tie_word_embeddings")?;
    let dense = Dense {
        dims,
        heads,
        biases: Biases { qkv: c.bool_or("attention_bias", false)?, output: false },
        mlp_bias: c.bool_or("mlp_bias", false)?,
        rope: RopeModule::plain(heads.dim, true, c.number_or("rope_theta", 10_000.0)?),
        head: if tied { HeadKind::TiedBesideOwn } else { HeadKind::Own },
    };
    dense.built(c, p)
}

/// `telechat3`.
pub(super) fn build_telechat3(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let dims = Dims::read(c)?;
    let heads = dims.sized_heads(c)?;
    let scaling = RopeScaling::read(c, "rope_scaling")?;
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let dense = Dense {
        dims,
        heads,
        biases: Biases::all(c.bool_or("attention_bias", false)?),
        mlp_bias: c.bool_or("mlp_bias", false)?,
        rope: RopeModule::new(heads.dim, theta, false, scaling.as_ref(), dims.max_context)?,
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
    };
    dense.built(c, p)
}
