//! GLM-4 (`glm4`, with norms behind attention and MLP too) and its predecessor (`glm`): gate and up projections in one
//! matrix, adjacent pairs of features rotated.

use crate::graph::parts::prelude::*;

struct Settings {
    dims: Dims,
    heads: Heads,
    eps: f64,
    bias: bool,
    rope: RopeModule,
}

impl Settings {
    fn read(c: &Config, heads: Heads, rope: RopeModule) -> Result<Self, ConfigError> {
        Ok(Self {
            dims: Dims::read(c)?,
            heads,
            eps: c.number_or("rms_norm_eps", 1e-5)?,
            bias: c.bool_or("attention_bias", false)?,
            rope,
        })
    }

    fn attention(&self, p: &mut ParamBuilder) -> Attention {
        let biases = Biases { qkv: self.bias, output: false };
        let rope = Some(self.rope.clone());
        Attention::new(p, "self_attn", self.dims.width, self.heads, biases, rope)
    }

    fn mlp(&self, p: &mut ParamBuilder) -> FusedMlp {
        let names = ["gate_up_proj", "down_proj"];
        p.scope("mlp", |p| FusedMlp::new(p, names, self.dims.width, self.dims.hidden))
    }

    fn norm(&self, p: &mut ParamBuilder, name: &str) -> RmsNorm {
        RmsNorm::new(p, name, self.dims.width, self.eps)
    }
}

/// `glm4`.
pub(super) fn build_4(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let heads = Heads { dim: c.positive("head_dim")?, ..Dims::read(c)?.heads(c)? };
    let part = c.number_or("partial_rotary_factor", 0.5)?;
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let traditional = c.bool_or("rope_traditional", true)?;
    let rope = RopeModule::plain((heads.dim as f64 * part) as u64, traditional, theta);
    let s = Settings::read(c, heads, rope)?;
    let d = s.dims;
    let norm = |p: &mut ParamBuilder, name: &str| s.norm(p, name);
    let max_context = Some(c.dim_or("max_position_embeddings", 32_768)?);
    let o = Outline { max_context, ..d.outline(HeadKind::Own, s.eps) };
    let decoder = o.layered(p, &d.full(), |p, _| {
        let attention_norms =
            Norms::around(norm(p, "input_layernorm"), norm(p, "post_self_attn_layernorm"));
        let mlp_norms =
            Norms::around(norm(p, "post_attention_layernorm"), norm(p, "post_mlp_layernorm"));
        let (attention, mlp) = (s.attention(p), s.mlp(p));
        Sandwich::new(attention, attention_norms, mlp, mlp_norms)
            .with_residuals(Residual::Plain, Residual::Swapped)
    });
    Ok(decoder.built())
}

/// `glm`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    if !c.has("head_dim") {
        return Err(c.invalid("head_dim", "a whole number or null"));
    }
    let heads = Dims::read(c)?.sized_heads(c)?;
    let rope = RopeModule::plain(heads.dim, true, c.number_or("rope_theta", 10_000.0)?);
    let s = Settings::read(c, heads, rope)?;
    let d = s.dims;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", true)?);
    let decoder = d.outline(head, s.eps).layered(p, &d.full(), |p, _| {
        let (attention, mlp) = (s.attention(p), s.mlp(p));
        Sandwich::pre_norm(p, d.width, s.eps, attention, mlp)
    });
    Ok(decoder.built())
}
