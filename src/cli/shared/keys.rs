//! Objects that the answers of several commands share.

use crate::estimate::Figures;
use crate::estimate::memory::{ContextBound, Fit, MaxContext};
use crate::estimate::speed::Evidence;
use crate::run::Work;
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// A model in an answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct ModelKey {
    /// Name of the model.
    pub id: String,
    /// Format of its weights.
    pub quant: String,
}

/// Memory, speeds and longest context of a model on a Mac.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct FigureKeys {
    /// Memory and longest context.
    pub memory: MemoryKeys,
    /// Decode speed.
    pub decode: DecodeKeys,
    /// Prefill speed and time to first token.
    pub prefill: PrefillKeys,
}

/// Memory of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct MemoryKeys {
    /// Peak of MLX's memory.
    pub peak_bytes: u64,
    /// Where nine of ten peaks lie.
    pub peak_interval_90_bytes: [Bytes; 2],
    /// Whether it fits.
    pub fits: Fit,
    /// Longest context that fits.
    pub max_context_tokens: Option<u32>,
    /// What ends it.
    pub max_context_bound: Option<ContextBound>,
}

/// Decode speed of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct DecodeKeys {
    /// Tokens per second, of all sequences.
    pub tokens_per_s: f64,
    /// Where eight of ten measurements lie.
    pub interval_80: [f64; 2],
    /// Where nine of ten lie.
    pub interval_90: [f64; 2],
    /// What the prediction rests on.
    pub evidence: Evidence,
}

/// Prefill speed of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct PrefillKeys {
    /// Tokens per second.
    pub tokens_per_s: f64,
    /// Seconds to the first token.
    pub ttft_s: f64,
    /// Where eight of ten times lie.
    pub ttft_interval_80_s: [f64; 2],
    /// Where nine of ten lie.
    pub ttft_interval_90_s: [f64; 2],
}

impl FigureKeys {
    /// The keys of figures for a run, with the longest context where it is known.
    pub fn of(f: &Figures, run: &Work, context: Option<MaxContext>) -> Self {
        let ttft = |rates| f.prefill.ttft_at(rates, run);
        Self {
            memory: MemoryKeys {
                peak_bytes: f.memory.peak.peak_bytes,
                peak_interval_90_bytes: f.memory.peak_interval_90,
                fits: f.memory.judgment.verdict,
                max_context_tokens: context.map(|c| c.tokens),
                max_context_bound: context.map(|c| c.bound),
            },
            decode: DecodeKeys {
                tokens_per_s: f.decode.tokens_per_s,
                interval_80: f.decode.interval_80,
                interval_90: f.decode.interval_90,
                evidence: f.decode.evidence.clone(),
            },
            prefill: PrefillKeys {
                tokens_per_s: f.prefill.tokens_per_s,
                ttft_s: f.prefill.ttft_s,
                ttft_interval_80_s: ttft(f.prefill.interval_80),
                ttft_interval_90_s: ttft(f.prefill.interval_90),
            },
        }
    }

    /// The longest context for a table; marked where memory ends it.
    pub fn context_text(&self) -> Option<String> {
        let tokens = self.memory.max_context_tokens?;
        let mark =
            if self.memory.max_context_bound == Some(ContextBound::Memory) { "*" } else { "" };
        Some(format!("{tokens}{mark}"))
    }
}
