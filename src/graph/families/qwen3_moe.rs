//! Qwen3 MoE: Qwen3 attention, softmax-routed experts in all or some layers. The router is packed at 8 bits.

use super::qwen3;
use crate::graph::parts::prelude::*;

/// Which layers of the Qwen MoE models are routed.
#[derive(Debug)]
pub(super) struct Routed {
    step: u64,
    dense: Vec<u64>,
    experts: u64,
}

impl Routed {
    /// Reads `decoder_sparse_step` and `mlp_only_layers`.
    pub(super) fn read(c: &Config, experts: u64) -> Result<Self, ConfigError> {
        let step = c.positive("decoder_sparse_step")?;
        let dense = c.opt_dims("mlp_only_layers")?.unwrap_or_default();
        Ok(Self { step, dense, experts })
    }

    /// Whether layer `i` is routed.
    pub(super) fn at(&self, i: u64) -> bool {
        !self.dense.contains(&i) && self.experts > 0 && (i + 1) % self.step == 0
    }
}

/// Routers and gates of shared experts, which are packed at 8 bits.
pub(super) const ROUTERS: &[&str] = &["mlp.gate", "shared_expert_gate"];

/// `qwen3_vl_moe`: the text model under `language_model`.
pub(super) fn build_vision(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let mut text = c.object("text_config")?;
    if !text.has("tie_word_embeddings") && c.has("tie_word_embeddings") {
        text = text.with("tie_word_embeddings", c.bool("tie_word_embeddings")?);
    }
    p.scope("language_model", |p| build(&text, p))
}

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline {
        eps: c.number_or("rms_norm_eps", 1e-6)?,
        ..Outline::read(c, c.bool("tie_word_embeddings")?)?
    };
    let heads = Heads::read(c)?;
    let hidden = c.positive("intermediate_size")?;
    let expert_hidden = c.positive("moe_intermediate_size")?;
    let experts: Experts = experts(c, "num_experts", "num_experts_per_tok")?;
    let normalize = c.bool("norm_topk_prob")?;
    let routed = Routed::read(c, experts.total)?;
    let rope = RopeModule::plain(heads.dim, false, c.number_or("rope_theta", 10_000.0)?);
    let decoder = o.decoder(p, |p, i| {
        let attention = qwen3::attention(p, o.width, heads, o.eps, &rope);
        let mlp: Box<dyn FeedForward> = if routed.at(i) {
            Box::new(softmax_experts(p, "mlp", o.width, expert_hidden, experts, normalize))
        } else {
            Box::new(GatedMlp::new(p, "mlp", o.width, hidden, false))
        };
        Ok((MaskRule::Full, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
    })?;
    Ok(decoder.with_packing(QuantOverride::EightBit, ROUTERS).with_experts(experts).built())
}
