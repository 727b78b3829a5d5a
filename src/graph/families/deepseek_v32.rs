//! DeepSeek-V3.2 and GLM-5: latent attention over the tokens that an indexer chooses, whose cache has values that are
//! zeros of the shape of its keys.

use super::deepseek_v3::build_with;
use crate::graph::parts::prelude::*;
use crate::graph::parts::sparse_latent::SparseLatent;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let cache = CacheKind::List(vec![CacheKind::Kv, CacheKind::Kv]);
    build_with(c, p, cache, |p, dims| SparseLatent::new(c, p, dims, true).map(SparseAttention))
}

/// `glm_moe_dsa`: the same with `rope_parameters`; every size must be given.
pub(super) fn build_glm(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    const SIZES: [&str; 20] = [
        "vocab_size",
        "hidden_size",
        "index_head_dim",
        "index_n_heads",
        "index_topk",
        "intermediate_size",
        "moe_intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "kv_lora_rank",
        "q_lora_rank",
        "qk_rope_head_dim",
        "v_head_dim",
        "qk_nope_head_dim",
        "n_group",
        "topk_group",
        "num_experts_per_tok",
        "moe_layer_freq",
        "first_k_dense_replace",
    ];
    for key in SIZES {
        c.dim(key)?;
    }
    let rope = c.object("rope_parameters")?;
    let c = c
        .clone()
        .with("rope_theta", rope.number("rope_theta")?)
        .with("rope_scaling", rope.values().clone())
        .with_defaults(&[("indexer_rope_interleave", true.into())]);
    build(&c, p)
}

/// Latent attention over chosen tokens.
struct SparseAttention(SparseLatent);

impl Mixer for SparseAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        self.0.project(Heads::join(self.0.attend(x, mask, cache, &mut None)))
    }
}
