//! Memory of llama.cpp, and of programs that run it: what it allocates when a model is loaded, before the first prompt.
//!
//! The weights are mapped, the cache of all slots and the buffers for intermediate results are allocated for the context
//! that was declared, used or not. Rules: `src/llama-context.cpp`, `src/llama-kv-cache.cpp`, `src/llama-graph.cpp` and
//! `ggml/src/ggml-alloc.c` of llama.cpp b11549.

mod alloc;
mod compute;
mod kv_type;
mod layout;
mod recurrent;
mod release;

pub use compute::ComputePlace;
pub use kv_type::{KvType, UnknownKvType};
pub use layout::{AttentionLayout, ExpertLayout, LayerLayout, Layout, RecurrenceKind, StateLayout};
pub use release::{LlamaRelease, NEWEST_BUILD};

use schemars::JsonSchema;
use serde::Serialize;

/// What llama.cpp is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LlamaSettings {
    /// Tokens of all slots together (`-c`).
    pub context: u64,
    /// Sequences at once (`-np`).
    pub slots: u64,
    /// Whether all slots share one cache (`-kvu`), rather than each having its part.
    pub unified: bool,
    /// Tokens of a batch (`-ub`).
    pub micro_batch: u64,
    /// Whether attention is flash attention (`-fa`).
    pub flash: bool,
    /// Types of keys and values (`-ctk`, `-ctv`).
    pub kv: [KvType; 2],
    /// Whether logits of every token of a batch are made, as by llama-bench and releases before mid 2026, rather than
    /// one row for each slot.
    pub all_logits: bool,
    /// What the release does.
    pub release: LlamaRelease,
}

impl LlamaSettings {
    /// Caches that keys and values are kept in: one, or one for each slot.
    fn streams(&self) -> u64 {
        if self.unified { 1 } else { self.slots.max(1) }
    }

    /// Cells of the cache of layers that look back at most so far, in all streams together.
    #[must_use]
    pub fn cells(&self, window: Option<u32>) -> u64 {
        let streams = self.streams();
        let own = (self.context / streams).next_multiple_of(self.release.cells);
        let own = match window {
            None => own,
            Some(tokens) => {
                let sequences = if self.unified { self.slots.max(1) } else { 1 };
                let within = u64::from(tokens) * sequences + self.micro_batch;
                own.min(within.next_multiple_of(self.release.cells))
            }
        };
        own * streams
    }

    /// Tokens of a batch.
    fn batch(&self) -> u64 {
        self.micro_batch.min(self.context).max(1)
    }

    /// Rows of logits.
    fn output_rows(&self) -> u64 {
        if self.all_logits { self.batch() } else { self.slots.clamp(1, self.batch()) }
    }

    fn is_quantized(&self) -> bool {
        self.kv.iter().any(|t| t.is_quantized())
    }
}

/// What llama.cpp allocates, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct LlamaBuffers {
    /// Tensors of the file.
    pub weights_bytes: u64,
    /// Keys and values.
    pub kv_bytes: u64,
    /// Recurrent and convolution states.
    pub state_bytes: u64,
    /// Intermediate results on the GPU.
    pub compute_bytes: u64,
    /// Inputs on the CPU.
    pub host_compute_bytes: u64,
    /// Logits on the CPU.
    pub output_bytes: u64,
    /// The largest single tensor of caches and intermediate results.
    pub largest_bytes: u64,
}

impl LlamaBuffers {
    /// What a model with a file of weights allocates.
    #[must_use]
    pub fn of(layout: &Layout, weights_bytes: u64, settings: &LlamaSettings) -> Self {
        let keys = |l: &LayerLayout| {
            let [k, v] = settings.kv;
            let cells = settings.cells(l.window);
            [k.bytes(l.stored[0] * cells), v.bytes(l.stored[1] * cells)]
        };
        let kv: Vec<[u64; 2]> = layout.layers.iter().map(keys).collect();
        let compute_bytes = compute::layers(layout, settings, ComputePlace::Gpu);
        Self {
            weights_bytes,
            kv_bytes: kv.iter().flatten().sum(),
            state_bytes: 4 * layout.state_elements() * settings.slots.max(1),
            compute_bytes,
            host_compute_bytes: compute::inputs(layout, settings),
            output_bytes: 4 * layout.vocabulary * settings.slots.max(1),
            largest_bytes: kv.iter().flatten().copied().max().unwrap_or(0).max(compute_bytes),
        }
    }

    /// All together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.weights_bytes + self.kv_bytes + self.state_bytes + self.beyond()
    }

    /// What is neither weights nor caches.
    #[must_use]
    pub const fn beyond(&self) -> u64 {
        self.compute_bytes + self.host_compute_bytes + self.output_bytes
    }
}

/// Bytes of the buffer for intermediate results where everything runs on the CPU.
#[must_use]
pub fn cpu_compute_bytes(layout: &Layout, settings: &LlamaSettings) -> u64 {
    compute::layers(layout, settings, ComputePlace::Cpu)
}

#[cfg(test)]
mod tests;
