//! Cohere Command R and Command A: attention and MLP side by side behind one layer norm, a tied head with a scale.
//! Cohere 2 has sliding windows with a rotary embedding in most layers and neither in the others.

use crate::graph::parts::prelude::*;

/// What both generations share.
struct Settings {
    dims: Dims,
    eps: f64,
    norm_bias: bool,
    biases: Biases,
    logit_scale: f64,
}

impl Settings {
    /// Reads the keys; missing sizes are those of `defaults` (key, value).
    fn read(c: &Config, defaults: &[(&str, u64)]) -> Result<(Self, Config), ConfigError> {
        let c = c.clone().with_sizes(defaults);
        let settings = Self {
            dims: Dims::read(&c)?,
            eps: c.number_or("layer_norm_eps", 1e-5)?,
            norm_bias: c.bool_or("layer_norm_bias", false)?,
            biases: Biases::all(c.bool_or("attention_bias", false)?),
            logit_scale: c.number_or("logit_scale", 0.0625)?,
        };
        Ok((settings, c))
    }

    fn decoder(
        &self,
        p: &mut ParamBuilder,
        rules: &[MaskRule],
        attention: impl Fn(&mut ParamBuilder, usize) -> Attention,
    ) -> Decoder {
        let d = self.dims;
        let norm = |p: &mut ParamBuilder, name: &str| {
            LayerNorm::new(p, name, d.width, self.eps, self.norm_bias)
        };
        let norm_kind = NormKind::Layer { bias: self.norm_bias };
        let o = Outline { norm: norm_kind, ..d.outline(HeadKind::Tied, self.eps) };
        let decoder = o.layered(p, rules, |p, i| {
            let attention = attention(p, i);
            let mlp = GatedMlp::up_first(p, "mlp", d.width, d.hidden, false);
            Parallel::new(norm(p, "input_layernorm"), attention, mlp)
        });
        let scale = self.logit_scale;
        decoder.with_logits(move |logits| logits * scale)
    }
}

/// `cohere`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let defaults = [
        ("hidden_size", 8192),
        ("num_hidden_layers", 40),
        ("intermediate_size", 22_528),
        ("num_attention_heads", 64),
        ("num_key_value_heads", 64),
        ("vocab_size", 256_000),
    ];
    let (s, c) = Settings::read(c, &defaults)?;
    let d = s.dims;
    let heads = d.heads(&c)?;
    let rope = RopeModule::plain(heads.dim, true, c.number_or("rope_theta", 8e6)?);
    let head_norms = c.bool_or("use_qk_norm", false)?;
    let decoder = s.decoder(p, &d.full(), |p, _| {
        let rope = Some(rope.clone());
        let attention = Attention::new(p, "self_attn", d.width, heads, s.biases, rope);
        if !head_norms {
            return attention;
        }
        let (query, key) = p.scope("self_attn", |p| {
            let query = HeadwiseNorm::new(p, "q_norm", heads.query, heads.dim, s.eps);
            (query, HeadwiseNorm::new(p, "k_norm", heads.kv, heads.dim, s.eps))
        });
        attention.with_norms(query, key, NormPlace::Rows)
    });
    Ok(decoder.built())
}

/// `cohere2`.
pub(super) fn build_2(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let defaults = [
        ("hidden_size", 4096),
        ("head_dim", 128),
        ("num_hidden_layers", 32),
        ("intermediate_size", 14_336),
        ("num_attention_heads", 32),
        ("num_key_value_heads", 8),
        ("vocab_size", 256_000),
        ("sliding_window", 4096),
        ("sliding_window_pattern", 4),
    ];
    let (s, c) = Settings::read(c, &defaults)?;
    let d = s.dims;
    let heads = Heads { dim: c.positive("head_dim")?, ..d.heads(&c)? };
    if heads.query * heads.dim != d.width {
        return Err(c.invalid("hidden_size", "num_attention_heads times head_dim"));
    }
    let rope = RopeModule::plain(heads.dim, true, c.number_or("rope_theta", 50_000.0)?);
    let window = MaskRule::Window(c.positive("sliding_window")? as u32);
    let pattern = c.positive("sliding_window_pattern")? as usize;
    if pattern > d.layers {
        return Err(c.invalid("sliding_window_pattern", format!("at most {} layers", d.layers)));
    }
    let rule = |i: usize| if (i + 1) % pattern == 0 { MaskRule::Full } else { window };
    let rules: Vec<MaskRule> = (0..d.layers).map(rule).collect();
    let decoder = s.decoder(p, &rules, |p, i| {
        let rope = (rule(i) != MaskRule::Full).then(|| rope.clone());
        Attention::new(p, "self_attn", d.width, heads, s.biases, rope)
            .with_precision(Precision::Half)
    });
    Ok(decoder.built())
}

/// Layer norm over each head, with one weight matrix for all heads.
struct HeadwiseNorm {
    weight: ModuleId,
    eps: f64,
}

impl HeadwiseNorm {
    fn new(p: &mut ParamBuilder, name: &str, heads: u64, dim: u64, eps: f64) -> Self {
        Self { weight: p.raw(&format!("{name}.weight"), &[heads, dim]), eps }
    }
}

impl Norm for HeadwiseNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        x.tape().weight(self.weight) * x.layer_norm(None, None, self.eps)
    }
}
