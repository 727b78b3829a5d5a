//! Ling Linear (`bailing_moe_linear`) and the first Ling 2.5 (`bailing_hybrid`): lightning attention, a recurrence with a
//! constant decay per head, and every few layers full or latent attention; Bailing's routed experts.

use super::bailing_moe::{
    BailingAttentionSettings, LayerGroups, MoeSettings, ROUTERS, WORD_EMBEDDINGS, attention_bias,
};
use crate::graph::parts::lightning::{LightningAttention, LightningRecurrence, LightningSettings};
use crate::graph::parts::prelude::*;

/// `bailing_moe_linear`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline::read(c, c.bool_or("tie_word_embeddings", false)?)?;
    let full = Heads::sized(c, o.width)?;
    let linear = Heads { query: full.query, kv: full.query, dim: o.width / full.query };
    let part = c.number_or("partial_rotary_factor", 1.0)?;
    let traditional = c.bool_or("rope_traditional", false)?;
    let rotated = |h: Heads| (h.dim as f64 * part) as u64;
    let attention = BailingAttentionSettings::read(c, full, rotated(full), traditional)?;
    let norms = c.bool_or("use_qk_norm", false)?;
    let rope = BailingAttentionSettings::read(c, linear, rotated(linear), traditional)?.rope;
    let settings = LightningSettings::read(c, linear, norms, rope, LightningRecurrence::Steps)?;
    let moe = MoeSettings::read(c, Order::Descending, 0.0)?;
    let groups = LayerGroups::read(c, o.layers)?;
    if groups.size > o.layers {
        return Err(c.invalid("layer_group_size", "at most num_hidden_layers, as mlx-lm needs"));
    }
    let model = Model { o: &o, groups, first_global: groups.size - 1, as_array: false };
    model.build(c, p, moe, &settings, |p| Box::new(attention.declare(p, o.width, o.eps)))
}

/// Ling 2.5 (`bailing_hybrid`).
pub(super) fn build_hybrid(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline::read(c, c.bool_or("tie_word_embeddings", false)?)?;
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: query, dim: head_dim(c, o.width, query)? };
    let rotated = (heads.dim as f64 * c.number_or("partial_rotary_factor", 0.5)?) as u64;
    if rotated == 0 || rotated > heads.dim || rotated % 2 != 0 {
        return Err(c.invalid("partial_rotary_factor", "an even part of the features of a head"));
    }
    let scaling = RopeScaling::read(c, "rope_scaling")?;
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let rope = RopeModule::new(rotated, theta, false, scaling.as_ref(), o.max_context)?;
    let norms = c.bool_or("use_qk_norm", true)?;
    let settings = LightningSettings::read(c, heads, norms, rope, LightningRecurrence::Chunks)?;
    let dims = MlaDims::required(c, o.width)?;
    let interleaved = c.bool_or("rope_interleave", true)?;
    let latent = LatentSettings {
        bias: c.bool_or("use_qkv_bias", false)?,
        eps: o.eps,
        rope: Some(RopeModule::new(
            dims.rope,
            theta,
            interleaved,
            scaling.as_ref(),
            o.max_context,
        )?),
        scale: dims.scale(scaling.as_ref())?,
        gated: false,
    };
    let moe = hybrid_moe(c)?;
    let groups = LayerGroups::read(c, o.layers)?;
    let first_global = (0..o.layers).find(|&i| groups.is_global(i)).unwrap_or(0);
    let model = Model { o: &o, groups, first_global, as_array: true };
    model.build(c, p, moe, &settings, |p| {
        Box::new(LatentAttention::named(p, ["attention", "dense"], dims, latent.clone()))
    })
}

fn hybrid_moe(c: &Config) -> Result<Option<MoeSettings>, ConfigError> {
    c.require(&["num_experts"])?;
    if c.opt_dim("num_experts")?.is_none() {
        return Ok(None);
    }
    let experts = experts(c, "num_experts", "num_experts_per_tok")?;
    let hidden = c.positive("moe_intermediate_size")?;
    let shared = c.dim("num_shared_experts")?;
    let together = match c.opt_dim("moe_shared_expert_intermediate_size")? {
        Some(n) if n > 0 => n,
        _ => hidden * shared,
    };
    let divide = experts.chosen > 1 && c.bool_or("norm_topk_prob", true)?;
    let mut routing = ScoreRouting::new(experts.chosen)
        .divided(Divisor::sum_plus(divide, 1e-20))
        .scaled(c.number_or("routed_scaling_factor", 1.0)?);
    if c.opt_str("score_function")?.unwrap_or("sigmoid") != "sigmoid" {
        routing = routing.softmax();
    }
    let (groups, kept) = (c.dim("n_group")?, c.dim("topk_group")?);
    if groups > kept {
        routing = routing.grouped(groups, kept, f64::NEG_INFINITY);
    }
    Ok(Some(MoeSettings {
        experts,
        first: c.dim("first_k_dense_replace")?,
        hidden,
        shared: (shared > 0).then_some(together),
        bias: attention_bias(c)?,
        expert_bias: c.bool_or("moe_router_enable_expert_bias", true)?,
        routing,
    }))
}

/// How the layers are put together.
struct Model<'a> {
    o: &'a Outline,
    groups: LayerGroups,
    /// The layer whose cache gives the position.
    first_global: u64,
    /// Whether the mask is an array.
    as_array: bool,
}

impl Model<'_> {
    fn build(
        &self,
        c: &Config,
        p: &mut ParamBuilder,
        moe: Option<MoeSettings>,
        lightning: &LightningSettings,
        global: impl Fn(&mut ParamBuilder) -> Box<dyn Mixer>,
    ) -> Result<Built, ConfigError> {
        let hidden = c.positive("intermediate_size")?;
        let bias = attention_bias(c)?;
        let o = Outline { names: WORD_EMBEDDINGS, ..self.o.clone() };
        let first_global = self.first_global as usize;
        let decoder = o.sharing(
            p,
            |p, i| {
                let rule = match (self.groups.is_global(i), self.as_array) {
                    (false, _) => MaskRule::Recurrent(1),
                    (true, false) => MaskRule::Full,
                    (true, true) => MaskRule::FullArray,
                };
                let layer = HybridLayer {
                    mixer: match rule {
                        MaskRule::Recurrent(_) => LayerMixer::Lightning(Box::new(
                            LightningAttention::new(p, &o, lightning, i),
                        )),
                        _ => LayerMixer::Global(global(p)),
                    },
                    mlp: match &moe {
                        Some(moe) if i >= moe.first => Box::new(moe.layer(p, o.width, false)),
                        _ => Box::new(GatedMlp::new(p, "mlp", o.width, hidden, bias)),
                    },
                    input_norm: RmsNorm::new(p, "input_layernorm", o.width, o.eps),
                    post_norm: RmsNorm::new(p, "post_attention_layernorm", o.width, o.eps),
                };
                Ok(Place::new(rule, layer))
            },
            move |call| (call.embedded, call.caches.get(first_global).map_or(0, |c| c.offset())),
        )?;
        let experts = moe.map(|m| m.experts);
        // The absorbed matrices of latent attention stay as they are.
        let absorbed = &["attention.embed_q", "attention.unembed_out"];
        let decoder = decoder.with_packing(QuantOverride::EightBit, ROUTERS);
        Ok(decoder.with_packing(QuantOverride::Keep, absorbed).with_experts(experts).built())
    }
}

enum LayerMixer {
    Global(Box<dyn Mixer>),
    Lightning(Box<LightningAttention>),
}

/// A layer that shares the position of the first new token, which only the cache of a full layer knows: the recurrent
/// layers rotate by it.
struct HybridLayer {
    mixer: LayerMixer,
    mlp: Box<dyn FeedForward>,
    input_norm: RmsNorm,
    post_norm: RmsNorm,
}

impl Layer<u32> for HybridLayer {
    fn run<'t>(&self, x: Var<'t>, at: At<'_, 't, u32>) -> Var<'t> {
        let r = self.input_norm.forward(x);
        let r = match &self.mixer {
            LayerMixer::Global(mixer) => mixer.mix(r, at.mask, at.cache),
            LayerMixer::Lightning(mixer) => mixer.forward(r, at.cache, *at.shared),
        };
        let h = x + r;
        h + self.mlp.apply(self.post_norm.forward(h))
    }
}
