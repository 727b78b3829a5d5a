//! What the attention layers of DeepSeek-V4 and their pools of older tokens are made from.

use crate::graph::prelude::*;

/// Tokens of a group in layers with an indexer.
pub const SPARSE_RATIO: u64 = 4;

/// Settings of the attention layers.
#[derive(Debug)]
pub struct DeepseekV4AttentionSettings {
    pub(super) width: u64,
    pub(super) heads: u64,
    pub(super) head_dim: u64,
    pub(super) q_rank: u64,
    pub(super) eps: f64,
    pub(super) o_groups: u64,
    pub(super) o_rank: u64,
    pub(super) o_bias: bool,
    pub(super) window: u64,
    pub(super) ratios: Vec<u64>,
    pub(super) index_heads: u64,
    pub(super) index_dim: u64,
    pub(super) index_topk: u64,
    pub(super) plain: Vec<f64>,
    pub(super) compressed: Vec<f64>,
}

impl DeepseekV4AttentionSettings {
    /// Reads the keys of the attention layers.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn read(c: &Config, width: u64, eps: f64, layers: u64) -> Result<Self, ConfigError> {
        let heads = c.positive_or("num_attention_heads", 64)?;
        let head_dim = c.positive_or("head_dim", 512)?;
        let rope_dim = c.positive_or("qk_rope_head_dim", 64)?;
        let index_dim = c.positive_or("index_head_dim", 128)?;
        if rope_dim > head_dim.min(index_dim) || (head_dim | rope_dim | index_dim) % 2 != 0 {
            return Err(c.invalid("qk_rope_head_dim", "even and at most head_dim, index_head_dim"));
        }
        let o_groups = c.positive_or("o_groups", 8)?;
        if heads % o_groups != 0 {
            return Err(c.invalid("o_groups", "a divisor of num_attention_heads"));
        }
        let scaling = RopeScaling::read(c, "rope_scaling")?;
        let theta = c.number_or("compress_rope_theta", 160_000.0)?;
        Ok(Self {
            width,
            heads,
            head_dim,
            q_rank: c.dim_or("q_lora_rank", 1024)?,
            eps,
            o_groups,
            o_rank: c.dim_or("o_lora_rank", 1024)?,
            o_bias: c.bool_or("attention_bias", false)?,
            window: c.positive_or("sliding_window", 128)?,
            ratios: ratios(c, layers)?,
            index_heads: c.positive_or("index_n_heads", 64)?,
            index_dim,
            index_topk: c.positive_or("index_topk", 512)?,
            plain: frequencies(rope_dim, c.number_or("rope_theta", 10_000.0)?, None)?,
            compressed: frequencies(rope_dim, theta, scaling.as_ref())?,
        })
    }

    /// Tokens of the window.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.window as u32
    }

    pub(super) fn ratio(&self, layer: u64) -> u64 {
        usize::try_from(layer).ok().and_then(|i| self.ratios.get(i)).copied().unwrap_or(0)
    }

    /// The cache of a layer.
    #[must_use]
    pub fn cache(&self, layer: u64) -> CacheKind {
        let window = CacheKind::Rotating { max_size: self.window(), keep: 0 };
        let ratio = self.ratio(layer) as u32;
        let pool = |width: u64| CacheKind::Pool { ratio, width: width as u32 };
        match self.ratio(layer) {
            0 => window,
            SPARSE_RATIO => {
                CacheKind::List(vec![window, pool(self.head_dim), pool(self.index_dim)])
            }
            _ => CacheKind::List(vec![window, pool(self.head_dim)]),
        }
    }
}

/// Tokens per pooled row of each layer.
fn ratios(c: &Config, layers: u64) -> Result<Vec<u64>, ConfigError> {
    let mut list = c.opt_dims("compress_ratios")?.unwrap_or_default();
    if list.is_empty() {
        let inner = layers.saturating_sub(2);
        list = std::iter::once(0)
            .chain((0..inner).map(|i| if i % 2 == 1 { SPARSE_RATIO } else { 128 }))
            .chain((layers >= 2).then_some(0))
            .collect();
    }
    list.truncate(layers as usize);
    if list.len() as u64 != layers || list.iter().any(|r| ![0, SPARSE_RATIO, 128].contains(r)) {
        return Err(c.invalid("compress_ratios", "one of 0, 4 and 128 for every layer"));
    }
    Ok(list)
}

/// Frequencies of the rotated features: YaRN without attention factors if the block asks for it.
fn frequencies(
    dims: u64,
    base: f64,
    scaling: Option<&RopeScaling>,
) -> Result<Vec<f64>, ConfigError> {
    let dims32 = dims as u32;
    let plain = FrequencyTable::Long { dims: dims32, base, factors: vec![1.0] };
    let Some(scaling) = scaling else { return Ok(plain.values()) };
    match scaling.kind()? {
        "default" => Ok(plain.values()),
        "yarn" | "deepseek_yarn" => {
            Ok(RopeModule::yarn(dims, base, true, scaling)?.table().unwrap_or(&plain).values())
        }
        other => Err(ConfigError::Unsupported(format!(
            "DeepSeek-V4 has no rotary embedding of type '{other}'"
        ))),
    }
}
