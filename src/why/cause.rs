//! The causes of a gap.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a run is slower, or seems faster, than predicted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// MLX does not use the matrix units of M5.
    MatrixUnitsOff,
    /// Another release of the engine, or of MLX.
    EngineVersion,
    /// Low Power Mode, or Automatic on macOS 27.
    PowerMode,
    /// Heat.
    Thermal,
    /// Memory that is not wired, compressed or swapped.
    MemoryPressure,
    /// More tokens in the cache than thought.
    ContextDepth,
    /// Thinking before the answer.
    ThinkingTokens,
    /// A kept prompt that was missed, or hit.
    PrefixCache,
    /// A quantized cache.
    KvQuantized,
    /// llama.cpp without flash attention.
    FlashAttentionOff,
    /// bfloat16 on M1 and M2.
    #[serde(rename = "bf16_m1_m2")]
    Bf16M1M2,
    /// Layers on the CPU.
    CpuFallback,
    /// All experts computed.
    MoeDense,
    /// The rate counts the prompt.
    EndToEndRate,
    /// Time around the model.
    ServerOverhead,
    /// Another bin of the chip.
    OtherBin,
    /// A file with more bits.
    OtherFormat,
    /// Drafts.
    Speculative,
    /// Several sequences.
    Batch,
    /// Weights that left residency while nothing ran.
    Idle,
    /// The first request after a start.
    ColdStart,
    /// Tokens that were counted wrongly.
    TokenCount,
    /// None of these.
    Unexplained,
}

impl GapCause {
    /// The cause in words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::MatrixUnitsOff => "matrix units are not used",
            Self::EngineVersion => "another release of the engine or of MLX",
            Self::PowerMode => "Low Power or Automatic mode",
            Self::Thermal => "heat",
            Self::MemoryPressure => "memory: not wired, compressed or swapped",
            Self::ContextDepth => "more tokens in the cache than thought",
            Self::ThinkingTokens => "thinking before the answer",
            Self::PrefixCache => "prompt cache",
            Self::KvQuantized => "quantized KV cache",
            Self::FlashAttentionOff => "flash attention is off",
            Self::Bf16M1M2 => "bfloat16 on M1 or M2",
            Self::CpuFallback => "layers on the CPU",
            Self::MoeDense => "all experts are computed",
            Self::EndToEndRate => "the rate counts the prompt (end to end)",
            Self::ServerOverhead => "the server around the model",
            Self::OtherBin => "another bin of the chip",
            Self::OtherFormat => "a file with more bits",
            Self::Speculative => "speculative decoding",
            Self::Batch => "several requests at once",
            Self::Idle => "a pause before the request",
            Self::ColdStart => "the first request after a start",
            Self::TokenCount => "tokens counted otherwise",
            Self::Unexplained => "none of these",
        }
    }
}
