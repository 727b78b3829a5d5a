//! Qwen3-Next and Qwen3.5: three gated-delta layers to one layer of gated attention, dense or routed MLPs with a
//! shared expert. Vision towers and multi-token-prediction layers are dropped, as mlx-lm does.

use super::qwen3_moe::{ROUTERS, Routed};
use crate::graph::parts::gated_attention::GatedAttention;
use crate::graph::parts::gated_delta::{DeltaDims, GatedDeltaNet};
use crate::graph::parts::prelude::*;

/// What the two generations read from their configurations.
struct Settings {
    count: u64,
    width: u64,
    heads: Heads,
    eps: f64,
    vocabulary: u64,
    tied: bool,
    interval: u64,
    rope: RopeModule,
    delta: DeltaDims,
    bias: bool,
    hidden: u64,
    moe: Option<MoeSettings>,
    /// Qwen3.5's separate input projections and float32 `A_log`.
    separate: bool,
    max_context: Option<u64>,
}

struct MoeSettings {
    experts: Experts,
    hidden: u64,
    shared: u64,
    normalize: bool,
    routed: Option<Routed>,
}

impl MoeSettings {
    /// Softmax-routed experts and a shared expert with a gate of its own.
    fn layer(&self, p: &mut ParamBuilder, width: u64) -> RoutedMlp {
        let routed = softmax_experts(p, "mlp", width, self.hidden, self.experts, self.normalize);
        p.scope("mlp", |p| with_gated_shared(p, routed, width, self.shared))
    }

    fn at(&self, i: u64) -> bool {
        self.routed.as_ref().is_none_or(|r| r.at(i))
    }
}

/// `qwen3_next`.
pub(super) fn build_next(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let heads = Heads::read(c)?;
    let width = c.positive("hidden_size")?;
    let delta = DeltaDims::read(c, width)?;
    let part = c.number_or("partial_rotary_factor", 0.5)?;
    let max_context = c.opt_dim("max_position_embeddings")?;
    let rope =
        RopeModule::read_as(c, (heads.dim as f64 * part) as u64, 10_000.0, false, max_context)?;
    let experts = experts(c, "num_experts", "num_experts_per_tok")?;
    build(
        &Settings {
            count: layer_count(c)?,
            width,
            heads,
            eps: c.number_or("rms_norm_eps", 1e-6)?,
            vocabulary: c.positive("vocab_size")?,
            tied: c.bool_or("tie_word_embeddings", false)?,
            interval: c.dim_or("full_attention_interval", 4)?.max(1),
            rope,
            delta,
            bias: c.bool_or("attention_bias", false)?,
            hidden: c.positive("intermediate_size")?,
            moe: Some(MoeSettings {
                experts,
                hidden: c.positive("moe_intermediate_size")?,
                shared: c.positive("shared_expert_intermediate_size")?,
                normalize: c.bool_or("norm_topk_prob", false)?,
                routed: Some(Routed::read(c, experts.total)?),
            }),
            separate: false,
            max_context,
        },
        p,
    )
}

/// `qwen3_5` and `qwen3_5_moe`: the text model under `language_model`.
pub(super) fn build_5(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = c.opt_object("text_config")?.unwrap_or_else(|| c.clone());
    let width = c.dim_or("hidden_size", 4096)?;
    let query = c.dim_or("num_attention_heads", 32)?.max(1);
    let heads = Heads {
        query,
        kv: c.dim_or("num_key_value_heads", 8)?,
        dim: c.opt_dim("head_dim")?.unwrap_or(width / query),
    };
    let delta = DeltaDims {
        width,
        key_heads: c.dim_or("linear_num_key_heads", 16)?,
        value_heads: c.dim_or("linear_num_value_heads", 64)?,
        key_dim: c.dim_or("linear_key_head_dim", 192)?,
        value_dim: c.dim_or("linear_value_head_dim", 128)?,
        kernel: c.dim_or("linear_conv_kernel_dim", 4)?,
    };
    let scaling = RopeScaling::read(&c, "rope_parameters")?;
    let (part, theta) = match &scaling {
        Some(s) => (
            s.values().number_or("partial_rotary_factor", 0.25)?,
            s.values().number_or("rope_theta", 100_000.0)?,
        ),
        None => (0.25, 100_000.0),
    };
    let max_context = c.dim_or("max_position_embeddings", 131_072)?;
    let dims = (heads.dim as f64 * part) as u64;
    let rope = RopeModule::new(dims, theta, false, scaling.as_ref(), Some(max_context))?;
    let moe = if c.dim_or("num_experts", 0)? == 0 {
        None
    } else {
        Some(MoeSettings {
            experts: experts(&c, "num_experts", "num_experts_per_tok")?,
            hidden: c.dim_or("moe_intermediate_size", 0)?,
            shared: c.dim_or("shared_expert_intermediate_size", 0)?,
            normalize: c.bool_or("norm_topk_prob", true)?,
            routed: None,
        })
    };
    let settings = Settings {
        count: layer_count_or(&c, 32)?,
        width,
        heads,
        eps: c.number_or("rms_norm_eps", 1e-6)?,
        vocabulary: c.dim_or("vocab_size", 151_936)?,
        tied: c.bool_or("tie_word_embeddings", false)?,
        interval: c.dim_or("full_attention_interval", 4)?.max(1),
        rope,
        delta: delta.checked(&c)?,
        bias: c.bool_or("attention_bias", false)?,
        hidden: c.dim_or("intermediate_size", 14_336)?,
        moe,
        separate: true,
        max_context: Some(max_context),
    };
    p.scope("language_model", |p| build(&settings, p))
}

fn build(s: &Settings, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline {
        head: HeadKind::tied(s.tied),
        eps: s.eps,
        max_context: s.max_context,
        ..Outline::new(s.width, s.count, s.vocabulary)
    };
    let mut decoder = o.decoder(p, |p, i| {
        let linear = (i + 1) % s.interval != 0;
        let mixer: Box<dyn Mixer> = match (linear, s.separate) {
            (true, true) => Box::new(GatedDeltaNet::separate(p, s.delta, s.eps)),
            (true, false) => Box::new(GatedDeltaNet::fused(p, s.delta, s.eps)),
            (false, _) => Box::new(p.scope("self_attn", |p| {
                GatedAttention::new(p, (s.width, s.eps, s.bias), s.heads, s.rope.clone())
            })),
        };
        let mlp: Box<dyn FeedForward> = match &s.moe {
            Some(m) if m.at(i) => Box::new(m.layer(p, s.width)),
            _ => Box::new(GatedMlp::new(p, "mlp", s.width, s.hidden, false)),
        };
        let rule = if linear { MaskRule::Recurrent(2) } else { MaskRule::Full };
        Ok((rule, Sandwich::pre_norm(p, s.width, s.eps, mixer, mlp)))
    })?;
    if let Some(moe) = &s.moe {
        decoder = decoder.with_packing(QuantOverride::EightBit, ROUTERS).with_experts(moe.experts);
    }
    Ok(decoder.built())
}
