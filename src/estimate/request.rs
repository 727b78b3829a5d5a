//! What is to be run: the request of a prediction.

use crate::graph::cache::KvQuantisation;
use crate::hardware::machine::Machine;
use crate::ledger::peak;
use crate::ledger::replay::Gpu;

/// A generation to plan for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// Tokens in the cache when generation starts: the prompt.
    pub context_tokens: u32,
    /// Tokens generated.
    pub generate_tokens: u32,
    /// Sequences processed together.
    pub batch: u32,
    /// Tokens of a prefill chunk.
    pub prefill_step: u32,
    /// Whether and how the cache is quantised.
    pub kv: Option<KvQuantisation>,
}

impl Default for Request {
    fn default() -> Self {
        Self { context_tokens: 4096, generate_tokens: 256, batch: 1, prefill_step: 2048, kv: None }
    }
}

impl Request {
    /// All tokens of a sequence at the end of the generation.
    #[must_use]
    pub const fn total_tokens(&self) -> u32 {
        self.context_tokens.saturating_add(self.generate_tokens)
    }

    /// The same run on a GPU, as the peak simulation takes it.
    #[must_use]
    pub const fn on(&self, gpu: Gpu) -> peak::Request {
        peak::Request {
            gpu,
            prompt: self.context_tokens,
            generate: self.generate_tokens,
            batch: self.batch,
            prefill_step: self.prefill_step,
            kv: self.kv,
        }
    }
}

/// The GPU of a machine as MLX sees it.
#[must_use]
pub fn gpu(machine: &Machine) -> Gpu {
    Gpu {
        class: machine.arch_class(),
        generation: machine.arch_generation(),
        nax: machine.matrix_units.value,
    }
}
