//! Objects that the answers of several commands share.

use crate::advise::Figures;
use crate::estimate::memory::{Bound, Fits, MaxContext, Verdict};
use crate::estimate::speed::Evidence;
use crate::estimate::{Engine, Request, Settings, Subject};
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// A model in an answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ModelKey {
    /// Name of the model.
    pub id: String,
    /// Format of its weights.
    pub quant: String,
}

impl ModelKey {
    /// The keys of an opened model.
    pub fn of(subject: &Subject) -> Self {
        Self { id: subject.id.clone(), quant: subject.quant.clone() }
    }
}

/// The run that was asked for.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct RunKeys {
    /// Tokens in the cache when generation starts.
    pub context_tokens: u32,
    /// Tokens generated.
    pub generate_tokens: u32,
    /// Sequences processed together.
    pub batch: u32,
    /// Bits of a quantised KV cache.
    pub kv_bits: Option<u32>,
    /// Tokens of a prefill chunk.
    pub prefill_step: u32,
    /// The engine.
    pub engine: Engine,
}

impl RunKeys {
    /// The keys of a run.
    pub fn of(settings: &Settings) -> Self {
        let r = settings.request;
        Self {
            context_tokens: r.context_tokens,
            generate_tokens: r.generate_tokens,
            batch: r.batch,
            kv_bits: r.kv.map(|q| q.packing.bits),
            prefill_step: r.prefill_step,
            engine: settings.engine,
        }
    }
}

/// Memory, speeds and longest context of a model on a Mac.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct FigureKeys {
    /// Memory and longest context.
    pub memory: MemoryKeys,
    /// Decode speed.
    pub decode: DecodeKeys,
    /// Prefill speed and time to first token.
    pub prefill: PrefillKeys,
}

/// Memory of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct MemoryKeys {
    /// Peak of MLX's memory.
    pub peak_bytes: u64,
    /// Where nine of ten peaks lie.
    pub peak_interval_90_bytes: [Bytes; 2],
    /// Whether it fits, in three words.
    pub fits: Fits,
    /// Whether it fits, uncertain where the limit depends on the version of macOS.
    pub verdict: Verdict,
    /// Longest context that fits.
    pub max_context_tokens: Option<u32>,
    /// What ends it.
    pub max_context_bound: Option<Bound>,
}

/// Decode speed of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct DecodeKeys {
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
pub(super) struct PrefillKeys {
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
    pub fn of(f: &Figures, run: &Request, context: Option<MaxContext>) -> Self {
        let ttft = |rates| f.prefill.ttft_at(rates, run.context_tokens, run.batch);
        Self {
            memory: MemoryKeys {
                peak_bytes: f.memory.peak.peak_bytes,
                peak_interval_90_bytes: f.memory.peak_interval_90,
                fits: f.memory.judgement.fits,
                verdict: f.memory.judgement.verdict,
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
        let mark = if self.memory.max_context_bound == Some(Bound::Memory) { "*" } else { "" };
        Some(format!("{tokens}{mark}"))
    }
}
