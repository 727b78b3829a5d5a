//! Hy3: GLM's layers with full rotation, norms over heads and a router like GLM's under names of its own.

use super::glm4_moe;
use crate::graph::parts::prelude::*;
use crate::versions::mlx_lm;

/// Why no engine of MLX runs it.
pub(super) const NOWHERE: &str = concat!(
    "neither mlx-lm ",
    mlx_lm!(),
    " nor mlx-vlm can run this type; the figures are those of its tensors under mlx-lm's glm4_moe, which computes the same"
);

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
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
    glm4_moe::build(&same, p)
}
