//! Objects that the answers of several commands share.

use crate::estimate::{Engine, Settings, Subject};
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
