//! OLMo 2 and 3: norms behind attention and MLP only, and over whole queries and keys. OLMo 3 adds sliding windows.

use crate::graph::parts::prelude::*;

struct Settings {
    dims: Dims,
    heads: Heads,
    eps: f64,
    bias: bool,
    mlp_bias: bool,
}

impl Settings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let dims = Dims::read(c)?;
        Ok(Self {
            dims,
            heads: dims.optional_heads(c)?,
            eps: c.number_or("rms_norm_eps", 1e-5)?,
            bias: c.bool_or("attention_bias", false)?,
            mlp_bias: false,
        })
    }

    fn block(&self, p: &mut ParamBuilder, rope: &RopeModule) -> Sandwich {
        let (width, heads, eps) = (self.dims.width, self.heads, self.eps);
        let biases = Biases::all(self.bias);
        let attention = Attention::new(p, "self_attn", width, heads, biases, Some(rope.clone()));
        Sandwich::new(
            attention.with_usual_norms(p, NormPlace::Projection, eps),
            Norms::after(RmsNorm::new(p, "post_attention_layernorm", width, eps)),
            GatedMlp::new(p, "mlp", width, self.dims.hidden, self.mlp_bias),
            Norms::after(RmsNorm::new(p, "post_feedforward_layernorm", width, eps)),
        )
    }
}

/// `olmo2`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let s = Settings { mlp_bias: c.bool_or("mlp_bias", false)?, ..Settings::read(c)? };
    let d = s.dims;
    let rope = RopeModule::read(c, s.heads.dim, 10_000.0, d.max_context)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", true)?);
    let decoder = d.outline(head, s.eps).layered(p, &d.full(), |p, _| s.block(p, &rope));
    Ok(decoder.built())
}

/// `olmo3`: every fourth layer is full attention unless `layer_types` says otherwise; only those have scaled ropes.
pub(super) fn build_3(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let s = Settings::read(c)?;
    let d = s.dims;
    let types = match c.opt_strings("layer_types")? {
        Some(types) => types,
        None => (0..d.layers)
            .map(|i| {
                if (i + 1) % 4 == 0 { "full_attention" } else { "sliding_attention" }.to_owned()
            })
            .collect(),
    };
    for kind in ["full_attention", "sliding_attention"] {
        if !types.iter().any(|t| t == kind) {
            return Err(c.invalid("layer_types", format!("at least one '{kind}'")));
        }
    }
    let rules = layer_type_rules(c, &types, d.layers)?;
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let local = RopeModule::plain(s.heads.dim, false, theta);
    let scaling = RopeScaling::read(c, "rope_scaling")?;
    let full = RopeModule::new(s.heads.dim, theta, false, scaling.as_ref(), d.max_context)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", false)?);
    let decoder = d.outline(head, s.eps).layered(p, &rules, |p, i| {
        let rope = if types[i] == "full_attention" { &full } else { &local };
        s.block(p, rope)
    });
    Ok(decoder.built())
}
