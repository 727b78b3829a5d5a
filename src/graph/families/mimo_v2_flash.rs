//! MiMo-V2-Flash: window and full attention with different heads, values of their own width, sinks; grouped sigmoid
//! routing.

use super::glm4_moe::GroupMoeSettings;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    c.require(&["n_shared_experts", "n_group", "topk_group", "norm_topk_prob", "topk_method"])?;
    let mut o = Outline::read(c, false)?;
    o.eps = c.number_or("layernorm_epsilon", 1e-5)?;
    let pattern = flags(c, "hybrid_layer_pattern", o.layers)?;
    if !pattern.contains(&true) || !pattern.contains(&false) {
        return Err(c.invalid("hybrid_layer_pattern", "layers of both kinds, 0 and 1"));
    }
    let routed = flags(c, "moe_layer_freq", o.layers)?;
    let window = c.positive("sliding_window_size")? as u32;
    let part = c.number_or("partial_rotary_factor", 1.0)?;
    let full = AttentionSettings::read(c, "", "add_full_attention_sink_bias", part)?;
    let local = AttentionSettings::read(c, "swa_", "add_swa_attention_sink_bias", part)?;
    let hidden = c.positive("intermediate_size")?;
    let moe = GroupMoeSettings::read(c)?.map(|m| m.with_epsilon(1e-20));
    let decoder = o.decoder(p, |p, i| {
        let at = |list: &[bool]| list.get(i as usize).copied().unwrap_or(false);
        let sliding = at(&pattern);
        let attention = ScaledValues::new(p, o.width, if sliding { &local } else { &full });
        let mlp: Box<dyn FeedForward> = match &moe {
            Some(moe) if at(&routed) => Box::new(moe.layer(p, o.width)),
            None if at(&routed) => {
                return Err(c.invalid("n_routed_experts", "a number, because layers are routed"));
            }
            _ => Box::new(GatedMlp::up_first(p, "mlp", o.width, hidden, false)),
        };
        let rule = if sliding { MaskRule::Window(window) } else { MaskRule::Full };
        Ok((rule, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
    })?;
    Ok(decoder.with_experts(moe.map(|m| m.experts)).built())
}

/// A list of 0 and 1, one for each layer.
fn flags(c: &Config, key: &str, layers: u64) -> Result<Vec<bool>, ConfigError> {
    c.require(&[key])?;
    let list = c.opt_dims(key)?.unwrap_or_default();
    if (list.len() as u64) < layers {
        return Err(c.invalid(key, format!("a list of {layers} numbers, 0 or 1")));
    }
    Ok(list.iter().take(layers as usize).map(|&n| n == 1).collect())
}

/// Settings of one kind of attention layer.
struct AttentionSettings {
    heads: Heads,
    value_dim: u64,
    rope: RopeModule,
    sinks: bool,
    value_scale: Option<f64>,
}

impl AttentionSettings {
    fn read(c: &Config, prefix: &str, sinks: &str, part: f64) -> Result<Self, ConfigError> {
        let key = |name: &str| format!("{prefix}{name}");
        let heads = Heads {
            query: c.positive(&key("num_attention_heads"))?,
            kv: c.positive(&key("num_key_value_heads"))?,
            dim: c.positive(&key("head_dim"))?,
        };
        let theta = c.number_or(&key("rope_theta"), 10_000.0)?;
        Ok(Self {
            heads,
            value_dim: c.positive(&key("v_head_dim"))?,
            rope: RopeModule::plain((part * heads.dim as f64) as u64, false, theta),
            sinks: c.bool(sinks)?,
            value_scale: c.opt_number("attention_value_scale")?,
        })
    }
}

struct ScaledValues {
    inner: Attention,
    value_scale: Option<f64>,
}

impl ScaledValues {
    fn new(p: &mut ParamBuilder, width: u64, s: &AttentionSettings) -> Self {
        let h = s.heads;
        let inner = p.scope("self_attn", |p| {
            let q = Linear::new(p, "q_proj", width, h.query * h.dim, false);
            let k = Linear::new(p, "k_proj", width, h.kv * h.dim, false);
            let v = Linear::new(p, "v_proj", width, h.kv * s.value_dim, false);
            let o = Linear::new(p, "o_proj", h.query * s.value_dim, width, false);
            let attention =
                Attention::of(Projections::Separate([q, k, v]), o, h, Some(s.rope.clone()));
            match s.sinks {
                true => attention.with_sinks(p.raw("attention_sink_bias", &[h.query])),
                false => attention,
            }
        });
        Self { inner, value_scale: s.value_scale }
    }
}

impl Mixer for ScaledValues {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let [q, k, v] = self.inner.prepared(x, cache.offset());
        let v = self.value_scale.map_or(v, |scale| v * scale);
        self.inner.output(q, cache.update(k, v), mask)
    }
}
