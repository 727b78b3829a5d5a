//! GLM-4.5 to 4.7 and Solar Open: grouped-query attention with partial rotation, grouped sigmoid routing, dense first
//! layers.

use crate::graph::parts::prelude::*;

/// `glm4_moe`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    c.require(&["n_group", "topk_group", "norm_topk_prob", "n_shared_experts", "use_qk_norm"])?;
    build_with(c, p, c.bool("use_qk_norm")?)
}

/// `solar_open`: the same with other defaults.
pub(super) fn build_solar(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    c.require(&["norm_topk_prob", "n_shared_experts", "partial_rotary_factor"])?;
    build_with(c, p, c.bool_or("use_qk_norm", false)?)
}

fn build_with(c: &Config, p: &mut ParamBuilder, norms: bool) -> Result<Built, ConfigError> {
    let o = Outline::read(c, false)?;
    let heads = Heads::read(c)?;
    let part = c.number_or("partial_rotary_factor", 0.5)?;
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let rope = RopeModule::plain((heads.dim as f64 * part) as u64, false, theta);
    let biases = Biases { qkv: c.bool_or("attention_bias", false)?, output: false };
    let hidden = c.positive("intermediate_size")?;
    let first = c.dim("first_k_dense_replace")?;
    let moe = GroupMoeSettings::read(c)?;
    let decoder = o.decoder(p, |p, i| {
        let mut attention =
            Attention::new(p, "self_attn", o.width, heads, biases, Some(rope.clone()));
        if norms {
            attention = attention.with_usual_norms(p, NormPlace::Rows, o.eps);
        }
        let mlp: Box<dyn FeedForward> = match &moe {
            Some(moe) if i >= first => Box::new(moe.layer(p, o.width)),
            _ => Box::new(GatedMlp::new(p, "mlp", o.width, hidden, false)),
        };
        Ok((MaskRule::Full, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
    })?;
    Ok(decoder.with_experts(moe.map(|m| m.experts)).built())
}

/// Settings of the routed layers with the keys of DeepSeek-V3, for models with its router.
#[derive(Debug)]
pub(super) struct GroupMoeSettings {
    pub(super) experts: Experts,
    routing: GroupRouting,
    hidden: u64,
    shared: Option<u64>,
}

impl GroupMoeSettings {
    /// Reads the keys; `None` without routed experts.
    pub(super) fn read(c: &Config) -> Result<Option<Self>, ConfigError> {
        if c.opt_dim("n_routed_experts")?.is_none() {
            c.require(&["n_routed_experts"])?;
            return Ok(None);
        }
        let experts = experts(c, "n_routed_experts", "num_experts_per_tok")?;
        if c.opt_str("topk_method")?.unwrap_or("noaux_tc") != "noaux_tc" {
            return Err(c.invalid("topk_method", "'noaux_tc', the only one mlx-lm has"));
        }
        let hidden = c.positive("moe_intermediate_size")?;
        Ok(Some(Self {
            experts,
            hidden,
            shared: c.opt_dim("n_shared_experts")?.map(|n| n * hidden),
            routing: GroupRouting::read(c, experts.chosen)?,
        }))
    }

    /// Adds `epsilon` to the sum that the scores are divided by.
    #[must_use]
    pub(super) fn with_epsilon(self, epsilon: f64) -> Self {
        Self { routing: GroupRouting { floor: Some(epsilon), ..self.routing }, ..self }
    }

    /// Declares a routed layer `mlp`.
    pub(super) fn layer(&self, p: &mut ParamBuilder, width: u64) -> RoutedMlp {
        grouped_experts(p, width, self.hidden, self.experts, self.shared, self.routing)
    }
}
