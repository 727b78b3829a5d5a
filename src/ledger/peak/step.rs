//! The steps of a replayed generation, and why there may be none.

use crate::graph::tape::TraceError;
use schemars::JsonSchema;
use serde::Serialize;
use thiserror::Error;

/// Part of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Processing of the prompt.
    Prefill,
    /// The step that processes the last prompt token.
    FirstToken,
    /// A later token.
    Decode,
}

impl Phase {
    /// The part in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::FirstToken => "first token",
            Self::Decode => "decode",
        }
    }
}

/// One replayed step.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct Step {
    /// Part of the generation.
    pub phase: Phase,
    /// Tokens processed.
    pub tokens: u32,
    /// Tokens in the cache after the step.
    pub context_tokens: u32,
    /// Most active memory up to the end of the step, bytes.
    pub peak_bytes: u64,
    /// Keys and values after the step, bytes, page rounded.
    pub kv_bytes: u64,
    /// Recurrent and convolution states after the step, bytes, page rounded.
    pub state_bytes: u64,
    /// Attention scores and masks at the highest point so far, bytes.
    pub scores_bytes: u64,
    /// Command buffers committed in the step.
    pub command_buffers: u32,
}

/// Why a peak could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PeakError {
    /// The request makes no sense.
    #[error("{0}")]
    Request(&'static str),
    /// mlx-lm could not run the model.
    #[error(transparent)]
    Trace(#[from] TraceError),
}
