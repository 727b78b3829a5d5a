//! A program of the catalog: versions, defaults, and what they do to memory.

use super::{Drafting, KnownBy, Release};
use crate::hardware::cap::CapKind;
use crate::hardware::provenance::Confidence;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgramFamily {
    /// MLX weights.
    Mlx,
    /// GGUF files.
    Gguf,
}

/// A value, or how it changed over versions or days.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Setting<T> {
    /// The same in all versions.
    Fixed(T),
    /// What it was from when on.
    Changed(Vec<SettingChange>),
}

/// What a setting was in some versions.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of the file, which explains them")]
pub struct SettingChange {
    /// First version or day.
    pub from: Option<String>,
    pub from_mlx: Option<String>,
    pub until_before: Option<String>,
    pub date: Option<String>,
    pub by: Option<String>,
    /// The value: a number, or words.
    pub value: Option<SettingValue>,
    pub kv: Option<String>,
    pub models: Vec<String>,
    pub rule: Option<String>,
    pub only: Option<String>,
    pub always: Option<bool>,
    pub min_n: Option<u32>,
    pub fallback: Option<u32>,
    pub capped_by: Option<String>,
    /// Memory in GiB from which on, and the value there.
    pub tiers_gib: Vec<[u32; 2]>,
    /// Context from which on, and the value there.
    pub by_ctx: Vec<[u32; 2]>,
}

/// A number or words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum SettingValue {
    /// A number.
    Number(u64),
    /// Words.
    Words(String),
}

/// A value from a day or version on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Since(pub String, pub SettingValue);

/// Shares of memory at which a guard acts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of the file, which explains them")]
pub struct Guard {
    pub soft: f64,
    pub hard: f64,
    pub safe: f64,
    pub tier: String,
}

/// A program. A key that is absent is not known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of the file, which explains them")]
pub struct Engine {
    pub name: String,
    pub family: ProgramFamily,
    pub source: String,
    pub confidence: Confidence,
    pub basis: Option<KnownBy>,

    // Versions.
    pub newest: Option<String>,
    pub newest_read: Option<String>,
    pub newest_date: Option<String>,
    pub source_read: Option<String>,
    pub from_ollama: Option<Release>,
    #[serde(default)]
    pub versions: BTreeMap<Release, String>,
    pub mlx_min: Option<Release>,
    pub mlx_max: Option<Release>,
    pub mlx_lm: Option<String>,
    #[serde(default)]
    pub mlx_by_version: Vec<Since>,
    #[serde(default)]
    pub mlx_by_date: Vec<Since>,
    pub llama_server_from: Option<Release>,
    #[serde(default)]
    pub llama_cpp_build: BTreeMap<Release, u32>,
    #[serde(default)]
    pub nax_builds: Vec<String>,
    #[serde(default)]
    pub non_nax_builds: Vec<String>,
    pub model_format: Option<String>,

    // Chunks, sequences and context.
    pub prefill_step: Option<u32>,
    pub prefill_step_vlm: Option<u32>,
    /// Whether versions differ in that.
    #[serde(default)]
    pub prefill_step_vlm_varies: bool,
    pub prefill_step_recurrent: Option<u32>,
    pub prefill_step_from: Option<Release>,
    pub prefill_step_before: Option<SettingValue>,
    pub prefill_step_rule: Option<String>,
    pub prefill_step_settable: Option<bool>,
    #[serde(default)]
    pub prefill_step_shrinks_to: Vec<u32>,
    /// Share of its own limit that it keeps chunks under by making them smaller.
    pub prefill_step_shrinks_at: Option<f64>,
    #[serde(default)]
    pub prefill_step_by_date: Vec<Since>,
    pub n_batch: Option<u32>,
    pub n_ubatch: Option<Setting<u32>>,
    pub n_ctx: Option<Setting<u32>>,
    pub num_ctx: Option<Setting<u32>>,
    pub slots: Option<Setting<u32>>,
    pub prompt_slots: Option<u32>,
    pub completion_batch: Option<u32>,
    pub whole_logits: Option<bool>,
    pub array_mask: Option<bool>,
    pub array_mask_from: Option<String>,
    pub context_default: Option<u32>,
    pub context_fallback: Option<u32>,
    pub context_autofit_from: Option<String>,
    pub context_autofit_reserve_gib: Option<u32>,
    /// Types of models that its rule charges no scores of attention for.
    #[serde(default)]
    pub context_autofit_without_scores: Vec<String>,
    pub context_autofit_rule: Option<String>,
    /// Chunks that it chooses from, the largest first.
    #[serde(default)]
    pub context_autofit_steps: Vec<u32>,
    pub context_autofit_steps_from: Option<String>,
    pub context_checkpoints: Option<Setting<u32>>,
    pub swa_full: Option<bool>,
    pub gpu_layers: Option<String>,
    pub flash_attention: Option<Setting<String>>,
    #[serde(default)]
    pub d256_forced_fused: Vec<SettingChange>,
    pub d256_env: Option<String>,
    pub tiles_heads_from: Option<Release>,
    pub tiles_heads_always_from: Option<Release>,

    // The cache.
    pub kv_type: Option<String>,
    pub kv_options: Option<String>,
    pub kv_bits: Option<Vec<u32>>,
    pub kv_start: Option<u32>,
    pub kv_step: Option<u32>,
    pub kv_env: Option<String>,
    pub block_tokens: Option<u32>,
    pub block_tokens_hybrid: Option<u32>,
    pub max_blocks: Option<u32>,
    pub pool_rule: Option<String>,

    // What is kept between requests.
    pub prompt_cache: Option<String>,
    pub prompt_cache_entries: Option<u32>,
    pub prompt_cache_entries_hybrid: Option<u32>,
    pub prompt_cache_bytes: Option<SettingValue>,
    pub prompt_cache_fraction: Option<f64>,
    pub prompt_cache_ram: Option<u64>,
    pub prompt_cache_ssd_rule: Option<String>,
    pub cache_ram_mib: Option<Setting<u32>>,
    pub vision_cache_entries: Option<u32>,
    pub keep_alive_s: Option<u32>,

    // Memory.
    pub vision_tower: Option<bool>,
    /// Whether it is often started without them.
    pub vision_tower_optional: Option<bool>,
    pub vision_tower_from: Option<String>,
    pub wires: Option<String>,
    #[serde(default)]
    pub wired: Vec<SettingChange>,
    pub memory_fraction: Option<f64>,
    pub memory_guard: Option<Guard>,
    pub memory_cap_percent: Option<Setting<u32>>,
    pub memory_cap: Option<CapKind>,
    pub buffer_cache_rule: Option<String>,
    pub footprint_over_peak: Option<[f64; 2]>,
    pub size_factor_shown: Option<f64>,
    pub reserve_mib: Option<u32>,
    pub guardrails: Option<String>,
    pub gemma4_full_logits_until_before: Option<Release>,
    pub residency_sets_from_build: Option<u32>,
    pub residency_keepalive_s: Option<u32>,

    // Several Macs.
    pub several_macs: Option<bool>,
    pub splits_any_layers: Option<bool>,
    /// What it does with drafts.
    pub drafts: Option<Drafting>,

    // Where it answers.
    pub port: Option<u16>,
    #[serde(default)]
    pub probe: Vec<String>,
    /// Where it was read what it answers there.
    pub probe_source: Option<String>,
}
