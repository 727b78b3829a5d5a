//! Peak memory of a generation: `mx.get_peak_memory()` of `mlx_lm.generate`, by replaying it.

mod process;
mod run;
mod sampling;
mod step;
#[cfg(test)]
mod tests;

pub use run::{end, full, last_chunk, peak};
pub use step::{PeakError, Phase, Step};

use crate::ledger::replay::Gpu;
use crate::run::Run;
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// A run on a GPU: what a replay follows.
#[derive(Clone, Copy, Debug)]
struct OnGpu {
    run: Run,
    gpu: Gpu,
}

/// The peak and what it consists of. All figures are bytes of MLX's active memory unless they say otherwise.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Peak {
    /// Most active memory at any time: what `mx.get_peak_memory()` returns.
    pub peak_bytes: u64,
    /// Weights after loading, page rounded.
    pub weights_bytes: u64,
    /// Keys and values at the end of the step in which the peak occurred.
    pub kv_bytes: u64,
    /// Recurrent and convolution states.
    pub state_bytes: u64,
    /// Attention scores and masks at the peak, where attention is not fused.
    pub attention_scratch_bytes: u64,
    /// Everything else at the peak: intermediates that wait for the GPU, and cache buffers being replaced.
    pub run_ahead_bytes: u64,
    /// Caches of earlier prompts that the program keeps, and of sequences that generate while prompts are read.
    pub kept_bytes: u64,
    /// The largest single buffer.
    pub largest_buffer_bytes: u64,
    /// Most bytes of live buffers and of freed ones that MLX keeps for reuse: what the process occupies through MLX.
    pub resident_bytes: u64,
    /// Where the peak occurred.
    pub phase: Phase,
    /// Tokens in the cache after the step in which it occurred.
    pub context_tokens: u32,
    /// The steps that were replayed.
    pub steps: Vec<Step>,
}

impl Peak {
    /// The peak with so many bytes of kept caches more.
    #[must_use]
    pub fn keeping(&self, more: Bytes) -> Self {
        Self {
            peak_bytes: self.peak_bytes + more.0,
            kept_bytes: self.kept_bytes + more.0,
            resident_bytes: self.resident_bytes + more.0,
            ..self.clone()
        }
    }
}
