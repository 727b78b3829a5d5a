//! What MLX and mlx-lm do in which version.

use super::{KnownBy, Release};
use crate::hardware::provenance::Confidence;
use serde::Deserialize;
use std::collections::BTreeMap;

/// When the matrix units are used: all of this must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nax {
    /// First version of MLX.
    pub from: Release,
    /// The wheel that has the kernels.
    pub wheel_tag: String,
    /// The oldest macOS.
    pub macos_min: Release,
    /// The oldest generation of GPU architecture.
    pub arch_gen_min: u32,
    /// The same of phones.
    pub arch_gen_min_phone: u32,
    /// The variable of the environment that turns them off.
    pub disable_env: String,
    /// Where this comes from.
    pub source: String,
    /// How it is known.
    pub basis: KnownBy,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// A rule of fused attention of prompts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionRule {
    /// First version of MLX.
    pub from: Release,
    /// Head sizes; empty where a pair is named.
    #[serde(default)]
    pub dims: Vec<u32>,
    /// Sizes of query and value heads, where they differ.
    pub pair: Option<[u32; 2]>,
    /// Only with (`true`) or without (`false`) matrix units.
    pub nax: Option<bool>,
    /// The masks that it takes: `none`, `causal` or `causal_or_array`.
    pub mask: RuleMask,
    /// Fewest rows of a chunk.
    pub min_l: Option<u32>,
    /// Least `batch * heads * rows / 32`.
    pub min_work: Option<u32>,
    /// Only where the chunk is the whole context.
    #[serde(default)]
    pub first_chunk_only: bool,
    /// Whether attention sinks are allowed.
    pub sinks: Option<bool>,
    /// Rows of a block, where scores are built block by block.
    pub block_rows: Option<u32>,
    /// Types of the activations, where not all.
    #[serde(default)]
    pub dtypes: Vec<String>,
    /// Where this comes from.
    pub source: String,
    /// How it is known.
    pub basis: Option<KnownBy>,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// The masks of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleMask {
    /// No mask.
    None,
    /// The causal mask, and no array.
    Causal,
    /// Any mask.
    CausalOrArray,
}

/// A rule of fused attention of decode steps.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorRule {
    /// First version of MLX.
    pub from: Release,
    /// Head sizes; empty where a pair is named.
    #[serde(default)]
    pub dims: Vec<u32>,
    /// Sizes of query and value heads, where they differ.
    pub pair: Option<[u32; 2]>,
    /// Most rows.
    pub max_l: u32,
    /// Query heads of a key head, where not any.
    #[serde(default)]
    pub gqa: Vec<u32>,
    /// Fewest keys.
    pub min_n: Option<u32>,
    /// The masks that it takes, where not all.
    pub mask: Option<RuleMask>,
    /// Where this comes from.
    pub source: String,
    /// How it is known.
    pub basis: Option<KnownBy>,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// A version from which grouped queries share what they read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GqaShare {
    /// First version of MLX.
    pub from: Release,
    /// Query heads of a key head, where not any.
    #[serde(default)]
    pub gqa: Vec<u32>,
    /// Head sizes.
    pub dims: Vec<u32>,
    /// Fewest keys.
    pub min_n: Option<u32>,
    /// The masks that it takes, where not all.
    pub mask: Option<RuleMask>,
    /// Rate of the cache before, 10^9 bytes per second, by case.
    #[serde(default)]
    pub before_gbps: BTreeMap<String, f64>,
    /// The same since.
    #[serde(default)]
    pub after_gbps: BTreeMap<String, f64>,
    /// The chip of the rates.
    pub chip: Option<String>,
    /// Where this comes from.
    pub source: String,
    /// How it is known.
    pub basis: Option<KnownBy>,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// A change of MLX or mlx-lm.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flag {
    /// Its name.
    pub name: String,
    /// First version that has it.
    pub from: Option<Release>,
    /// First version that no longer has it.
    pub until_before: Option<Release>,
    /// A value that changed over versions, the oldest first.
    #[serde(default)]
    pub values: Vec<SteppedValue>,
    /// What it does, in words.
    pub effect: Option<String>,
    /// Bytes that it costs, as a formula in words.
    pub bytes: Option<String>,
    /// Variable of the environment that sets it.
    pub env: Option<String>,
    /// Its default.
    pub default: Option<String>,
    /// Entries of a cache that it introduces.
    pub entries: Option<u32>,
    /// The limit of that cache.
    pub byte_limit: Option<String>,
    /// Group size of a quantized cache.
    pub group: Option<u32>,
    /// Tokens from which a cache is quantized.
    pub start: Option<u32>,
    /// What confirms it.
    pub confirmed_by: Option<String>,
    /// Where this comes from.
    pub source: String,
    /// How it is known.
    pub basis: Option<KnownBy>,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// A value from a version on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SteppedValue {
    /// First version.
    pub from: Release,
    /// The value.
    pub value: u32,
}

/// MLX's allocator; limits are rules in words.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of the file, which explains them")]
pub struct Allocator {
    pub memory_limit: String,
    pub gc_start: String,
    pub cache_limit: String,
    pub wired_limit_default: u64,
    /// Kernels of a command buffer by class of GPU.
    pub ops_per_buffer: BTreeMap<String, u32>,
    /// 2^20 elements of a command buffer by class of GPU.
    pub mb_per_buffer: BTreeMap<String, u32>,
    pub ops_per_buffer_from: Release,
    pub unchanged_to: Release,
    pub source: String,
    pub confidence: Confidence,
}

/// What holds for every version of MLX.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommonRules {
    /// Whether attention with a quantized cache is fused.
    pub quantized_kv_fused: bool,
    /// Whether batches bring an array mask.
    pub batch_cache_array_mask: bool,
    /// Bytes of that mask, as a formula in words.
    pub batch_mask_bytes: String,
    /// Where this comes from.
    pub source: String,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// A release of mlx-lm.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LmRelease {
    /// The day, ISO.
    pub date: String,
    /// The least MLX that it takes.
    pub mlx_min: Option<Release>,
}
