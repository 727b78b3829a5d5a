//! `data/engines.toml`: the programs that run models, their versions and defaults, and what MLX and mlx-lm do in which
//! version.
//!
//! The file is read strictly: a key that is not known is an error with its line and column.

mod drafting;
mod engine;
mod gguf;
mod llama;
mod memory;
mod mlx;
mod resolve;
mod routing;
mod server;

pub use drafting::{Drafting, WindowsWithDrafts};
pub use engine::{Engine, Guard, ProgramFamily, Setting, SettingChange, SettingValue, Since};
pub use gguf::{DatedFormula, GgufMemory, OllamaTag};
pub use llama::OllamaDefaults;
pub use mlx::{
    Allocator, AttentionRule, CommonRules, Flag, GqaShare, LmRelease, Nax, RuleMask, SteppedValue,
    VectorRule,
};
pub use resolve::AskedEngine;
pub use routing::{
    TRAINING_ATTENTION_FUSED, TRAINING_LOSS_FUSED, VECTOR_LIMITS_RAISED, changes, fused_since, has,
    may_use_matrix_units, routing, since, tiled_routing,
};
pub use server::ServerTimeRow;

use crate::hardware::provenance::Confidence;
use crate::run::Version;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use thiserror::Error;

const EMBEDDED: &str = include_str!("../../../data/engines.toml");
const FILE: &str = "data/engines.toml";

/// A file of engines that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}: {problem}")]
pub struct EnginesError {
    /// The file.
    pub file: String,
    /// What is wrong, with line and column.
    pub problem: String,
}

/// Everything that is known of engines.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engines {
    /// Version of the format of the file.
    pub schema: u32,
    /// Day of the knowledge, ISO.
    pub as_of: String,
    /// What is taken where nothing is said.
    pub default: Default,
    /// Days on which versions of MLX appeared.
    pub mlx_versions: BTreeMap<Release, String>,
    /// When the matrix units are used.
    pub mlx_nax: Nax,
    /// Fused attention of prompts, the oldest rule first; later ones add.
    pub mlx_rule: Vec<AttentionRule>,
    /// Fused attention of decode steps.
    pub mlx_vector: Vec<VectorRule>,
    /// Where grouped queries share what they read.
    pub mlx_gqa_share: Vec<GqaShare>,
    /// Other changes of MLX.
    pub mlx_flag: Vec<Flag>,
    /// MLX's allocator.
    pub mlx_allocator: Allocator,
    /// What holds for every version of MLX.
    pub mlx_rules_common: CommonRules,
    /// Days of mlx-lm's versions, and the least MLX of each.
    pub mlx_lm_versions: BTreeMap<Release, LmRelease>,
    /// Changes of mlx-lm.
    pub mlx_lm_flag: Vec<Flag>,
    /// What servers add to every token, the oldest version first.
    pub server_time: Vec<ServerTimeRow>,
    /// What idle GPUs cost.
    pub idle: Idle,
    /// The programs.
    #[serde(rename = "engine")]
    pub engines: Vec<Engine>,
    /// Parts of llama.cpp's memory.
    pub gguf_memory: GgufMemory,
    /// What Ollama's tags stand for.
    pub ollama_tag: Vec<OllamaTag>,
    /// Where programs are found on a Mac.
    pub discover: Discover,
    /// The footprint of servers.
    pub footprint_server: Footprint,
}

/// What is taken where nothing is said.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Default {
    /// The program.
    pub engine: String,
    /// Version of mlx-lm.
    pub mlx_lm: Release,
    /// Version of MLX that it is installed with.
    pub mlx: Release,
    /// Tokens of a prefill chunk.
    pub prefill_step: u32,
    /// Type of the cache.
    pub kv_type: String,
    /// Where this comes from.
    pub source: String,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// What idle GPUs cost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// Seconds without work after which a call is slow.
    pub idle_after_s: f64,
    /// Bytes of weights that become resident again, 10^9 per second, on an M5 Max.
    pub rate_gbps_m5max: [f64; 2],
    /// The same on an M4 Pro.
    pub rate_gbps_m4pro: [f64; 2],
    /// The same on an M2 Ultra.
    pub rate_gbps_m2ultra: [f64; 2],
    /// Seconds for which llama.cpp keeps weights resident.
    pub llama_cpp_keepalive_s: u32,
    /// How many times longer a short prompt takes while clocks rise.
    pub clock_ramp_factor_short_prompt: f64,
    /// What it rests on.
    pub evidence: String,
    /// How it is known.
    pub basis: KnownBy,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// Where programs are found on a Mac without running them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of the file, which explains them")]
pub struct Discover {
    pub python_dist_info: Vec<String>,
    pub python_roots: Vec<String>,
    pub nax_wheel_tags: Vec<String>,
    pub homebrew_cellar: Vec<String>,
    pub app_plists: Vec<String>,
    pub lm_studio_backends: String,
    pub lm_studio_site_packages: String,
    pub lm_studio_selection: String,
    pub ollama_manifests: String,
    pub omlx_settings: String,
    pub http: String,
    pub confidence: Confidence,
}

/// The footprint of servers, as rules in words.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of the file, which explains them")]
pub struct Footprint {
    pub lower: String,
    pub upper: String,
    pub cap: String,
    pub basis: KnownBy,
    pub evidence: String,
    pub confidence: Confidence,
}

/// How something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum KnownBy {
    /// Source at a tag or commit.
    #[serde(rename = "src")]
    Source,
    /// A shipped wheel.
    #[serde(rename = "bin")]
    Binary,
    /// A pull request or an issue.
    #[serde(rename = "pr")]
    PullRequest,
    /// A published measurement.
    #[serde(rename = "meas")]
    Measurement,
    /// An estimate.
    #[serde(rename = "est")]
    Estimate,
}

/// A version as the file writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Release(pub Version);

impl<'de> Deserialize<'de> for Release {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Engines {
    type Err = EnginesError;

    fn from_str(text: &str) -> Result<Self, EnginesError> {
        Self::read(FILE, text)
    }
}

impl Engines {
    /// Reads a file of engines; `file` names it in errors.
    ///
    /// # Errors
    /// Says in which line and column a key is unknown, missing or of the wrong kind.
    pub fn read(file: &str, text: &str) -> Result<Self, EnginesError> {
        toml::from_str(text)
            .map_err(|e| EnginesError { file: file.to_owned(), problem: e.to_string() })
    }

    /// The embedded file.
    ///
    /// # Errors
    /// Never, as a test shows.
    pub fn embedded() -> Result<&'static Self, EnginesError> {
        static READ: LazyLock<Result<Engines, EnginesError>> = LazyLock::new(|| EMBEDDED.parse());
        READ.as_ref().map_err(Clone::clone)
    }

    /// The program of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Engine> {
        self.engines.iter().find(|e| e.name == name)
    }
}

#[cfg(test)]
mod tests;
