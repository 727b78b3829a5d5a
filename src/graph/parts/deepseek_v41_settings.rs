//! What the attention layers of DeepSeek-V4.1 and their indexers are made from.

use crate::graph::cache::CompressedSpec;
use crate::graph::prelude::*;

/// Settings of the attention layers.
#[derive(Debug)]
pub struct DeepseekV41AttentionSettings {
    pub(super) width: u64,
    pub(super) heads: u64,
    pub(super) head_dim: u64,
    pub(super) q_rank: u64,
    pub(super) rope_dim: u64,
    pub(super) eps: f64,
    pub(super) o_groups: u64,
    pub(super) o_rank: u64,
    pub(super) window: u64,
    /// Tokens per compressed row in each layer; 0 or no entry = window only.
    pub(super) ratios: Vec<u64>,
    pub(super) kv_sources: Vec<u64>,
    pub(super) index_sources: Vec<u64>,
    pub(super) candidate_source: Option<u64>,
    pub(super) candidate_blocks: u64,
    pub(super) candidate_block: u64,
    pub(super) index_heads: u64,
    pub(super) index_dim: u64,
    pub(super) index_topk: u64,
    pub(super) plain_rope: RopeModule,
    pub(super) compressed_rope: RopeModule,
}

impl DeepseekV41AttentionSettings {
    /// Reads the keys of the attention layers.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn read(c: &Config, width: u64, eps: f64) -> Result<Self, ConfigError> {
        let dims = |key| Ok(c.opt_dims(key)?.unwrap_or_default());
        let rope_dim = c.dim_or("qk_rope_head_dim", 64)?;
        let head_dim = c.dim_or("head_dim", 512)?;
        if rope_dim == 0 || rope_dim > head_dim {
            return Err(c.invalid("qk_rope_head_dim", "a size from 1 to head_dim"));
        }
        let heads = c.dim_or("num_attention_heads", 64)?;
        let o_groups = c.positive_or("o_groups", 8)?;
        if (heads * head_dim) % o_groups != 0 {
            return Err(c.invalid("o_groups", "a divisor of num_attention_heads * head_dim"));
        }
        let source = c.opt_number("candidate_source_layer_id")?.unwrap_or(-1.0);
        Ok(Self {
            width,
            heads,
            head_dim,
            q_rank: c.dim_or("q_lora_rank", 1280)?,
            rope_dim,
            eps,
            o_groups,
            o_rank: c.dim_or("o_lora_rank", 1024)?,
            window: c.positive_or("sliding_window", 128)?,
            ratios: dims("compress_ratios")?,
            kv_sources: dims("kv_source_layer_ids")?,
            index_sources: dims("index_source_layer_ids")?,
            candidate_source: (source >= 0.0).then_some(source as u64),
            candidate_blocks: c.dim_or("candidate_topk_blocks", 2048)?,
            candidate_block: c.positive_or("candidate_block_size", 8)?,
            index_heads: c.positive_or("index_n_heads", 32)?,
            index_dim: c.positive_or("index_head_dim", 128)?,
            index_topk: c.positive_or("index_topk", 512)?,
            plain_rope: yarn(c, rope_dim, c.number_or("rope_theta", 10_000.0)?, false)?,
            compressed_rope: {
                yarn(c, rope_dim, c.number_or("compress_rope_theta", 160_000.0)?, true)?
            },
        })
    }

    /// Rows of the window.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.window as u32
    }

    pub(super) fn ratio(&self, layer: u64) -> u64 {
        usize::try_from(layer).ok().and_then(|i| self.ratios.get(i)).copied().unwrap_or(0)
    }

    pub(super) fn is_kv_source(&self, layer: u64) -> bool {
        self.kv_sources.contains(&layer)
    }

    /// What the cache of a layer keeps.
    #[must_use]
    pub fn cache(&self, layer: u64) -> CompressedSpec {
        let ratio = self.ratio(layer);
        let mut closed = Vec::new();
        if ratio > 0 && self.is_kv_source(layer) {
            closed.push((self.head_dim as u32, DType::F32));
            if self.index_sources.contains(&layer) {
                closed.push((self.index_dim as u32, DType::F32));
            }
        }
        let ratio = if closed.is_empty() { 0 } else { ratio as u32 };
        CompressedSpec { window: Some(self.window()), ratio, closed }
    }
}

/// The rotary embedding: YaRN without attention factors, unscaled for layers that only have a window.
fn yarn(c: &Config, dims: u64, base: f64, scaled: bool) -> Result<RopeModule, ConfigError> {
    let block = if scaled { c.opt_object("rope_scaling")? } else { None };
    let block = block.unwrap_or_else(|| c.clone());
    let original =
        if scaled { c.number_or("max_position_embeddings", 1_048_576.0)? } else { 4096.0 };
    let number = |key, default: f64| match scaled {
        true => block.number_or(key, default),
        false => Ok(default),
    };
    let settings = Config::new(serde_json::Map::new())
        .with("factor", number("factor", 1.0)?)
        .with(
            "original_max_position_embeddings",
            number("original_max_position_embeddings", original)?,
        )
        .with("beta_fast", number("beta_fast", 32.0)?)
        .with("beta_slow", number("beta_slow", 1.0)?)
        .with("mscale", 0.0)
        .with("mscale_all_dim", 0.0);
    RopeModule::yarn(dims, base, true, &RopeScaling::of(settings))
}
