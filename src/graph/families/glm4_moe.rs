//! GLM-4.5 to 4.7 and Solar Open: grouped-query attention with partial rotation, grouped sigmoid routing, dense first
//! layers.

use crate::graph::parts::prelude::*;
use crate::versions::mlx_lm;

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

/// Why no engine of MLX runs Hy3.
pub(super) const HY_RUNS_NOWHERE: &str = concat!(
    "neither mlx-lm ",
    mlx_lm!(),
    " nor mlx-vlm can run this type; the figures are those of its tensors under mlx-lm's glm4_moe, which computes the same"
);

/// `hy_v3` (Hy3): full rotation, norms over heads and a router like GLM's under names of its own.
pub(super) fn build_hy(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = c.clone().with_sizes(&[
        ("vocab_size", 120_832),
        ("hidden_size", 4096),
        ("intermediate_size", 13_312),
        ("num_hidden_layers", 80),
        ("num_attention_heads", 64),
        ("num_key_value_heads", 8),
        ("head_dim", 128),
        ("num_experts", 192),
        ("num_experts_per_tok", 8),
        ("num_shared_experts", 1),
        ("moe_intermediate_size", 1536),
        ("max_position_embeddings", 131_072),
    ]);
    let dense = match c.opt_strings("mlp_layer_types")? {
        Some(list) => list.iter().take_while(|w| *w == "dense").count() as u64,
        None => c.dim_or("first_k_dense_replace", 1)?,
    };
    let rope = c.opt_object("rope_parameters")?.unwrap_or_else(|| c.clone());
    let same = c
        .clone()
        .with("n_routed_experts", c.dim("num_experts")?)
        .with("n_shared_experts", c.dim("num_shared_experts")?)
        .with("routed_scaling_factor", c.number_or("router_scaling_factor", 2.826)?)
        .with("first_k_dense_replace", dense)
        .with("n_group", 1)
        .with("topk_group", 1)
        .with("norm_topk_prob", true)
        .with("use_qk_norm", true)
        .with("partial_rotary_factor", 1.0)
        .with("rope_theta", rope.number_or("rope_theta", 11_158_840.0)?);
    build(&same, p)
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
