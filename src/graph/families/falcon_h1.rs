//! Falcon-H1: Mamba-2 and attention side by side in every layer, then a gated MLP.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_defaults(&[("num_hidden_layers", 36.into())]);
    let width = c.dim_or("hidden_size", 1024)?;
    let heads = Heads::read_or(c, [8, 2, 64])?;
    let max = c.dim_or("max_position_embeddings", 131_072)?;
    let rope = RopeModule::read(c, heads.dim, 1e11, Some(max))?;
    let (dims, settings) = mamba(c, width)?;
    let normed = c.bool_or("mamba_rms_norm", false)?;
    let before = c.bool_or("mamba_norm_before_gate", false)?;
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let hidden = c.dim_or("intermediate_size", 2048)?;
    let outline = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", true)?),
        eps: c.number_or("rms_norm_eps", 1e-5)?,
        max_context: Some(max),
        names: Names { norm: "final_layernorm", ..Names::LLAMA },
        ..Outline::new(width, layer_count(c)?, c.dim_or("vocab_size", 32_784)?)
    };
    let eps = outline.eps;
    let mut decoder = outline.decoder(p, |p, _| {
        let norm = |p: &mut ParamBuilder| {
            if !normed {
                return GatedNorm::None;
            }
            let weight = p.raw("norm.weight", &[dims.inner]);
            if before { GatedNorm::Before(weight, eps) } else { GatedNorm::After(weight, eps) }
        };
        let block = Parallel {
            mlp: GatedMlp::up_first(p, "feed_forward", width, hidden, mlp_bias),
            mamba: Mamba2::new(p, "mamba", dims, settings, norm),
            attention: Attention::new(p, "self_attn", width, heads, biases, Some(rope.clone())),
            input_norm: RmsNorm::new(p, "input_layernorm", width, eps),
            mlp_norm: RmsNorm::new(p, "pre_ff_layernorm", width, eps),
        };
        let cache = CacheKind::List(vec![CacheKind::Arrays(2), CacheKind::Kv]);
        Ok((MaskRule::Full, cache, block))
    })?;
    if outline.head == HeadKind::Tied {
        let embedding = c.number_or("embedding_multiplier", 5.656_854_249_492_381)?;
        let factor = c.number_or("lm_head_multiplier", 0.039_062_5)? / embedding;
        decoder.on_logits = Some(Box::new(move |x| x * factor));
    }
    Ok(decoder.built())
}

fn mamba(c: &Config, width: u64) -> Result<(Mamba2Dims, Mamba2Settings), ConfigError> {
    let dims = Mamba2Dims {
        width,
        inner: c.dim_or("mamba_d_ssm", 1536)?,
        heads: c.dim_or("mamba_n_heads", 24)?,
        head_dim: c.dim_or("mamba_d_head", 64)?,
        groups: c.dim_or("mamba_n_groups", 1)?,
        state: c.dim_or("mamba_d_state", 128)?,
        kernel: c.dim_or("mamba_d_conv", 4)?,
    };
    if dims.heads * dims.head_dim != dims.inner {
        return Err(c.invalid("mamba_d_ssm", "mamba_n_heads * mamba_d_head"));
    }
    let settings = Mamba2Settings {
        in_bias: c.bool_or("mamba_proj_bias", false)?,
        out_bias: c.bool_or("projectors_bias", false)?,
        conv_bias: c.bool_or("mamba_conv_bias", true)?,
        a_log_f32: false,
        limit: [0.0, f64::INFINITY],
    };
    Ok((dims.checked(c, "mamba_n_groups", "mamba_d_conv")?, settings))
}

/// Mamba-2 and attention of the same input, added up.
struct Parallel {
    input_norm: RmsNorm,
    mamba: Mamba2,
    attention: Attention,
    mlp_norm: RmsNorm,
    mlp: GatedMlp,
}

impl Block for Parallel {
    fn forward<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let h = self.input_norm.forward(x);
        let recurrent = self.mamba.mix(h, Mask::None, cache.part(0));
        let attended = self.attention.mix(h, mask, cache.part(1));
        let h = x + recurrent + attended;
        h + self.mlp.apply(self.mlp_norm.forward(h))
    }
}
