//! The engine of a run: the program, and the settings of it that move memory or speed.

use super::Program;
use crate::graph::cache::KvQuantisation;
use crate::units::Bytes;

/// Tokens of a prefill chunk of `mlx_lm.generate` (`--prefill-step-size`).
pub const PREFILL_STEP: u32 = 2048;

/// A program with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineSetup {
    /// The program.
    pub program: Program,
    /// Tokens of a prefill chunk.
    pub prefill_step: u32,
    /// Whether and how the cache is quantised.
    pub kv: Option<KvQuantisation>,
    /// Memory kept for macOS and other programs; `None` for the default of the machine.
    pub reserve: Option<Bytes>,
    /// GPU memory limit that was set (`iogpu.wired_limit_mb`); `None` for the limit of the machine.
    pub gpu_limit: Option<Bytes>,
    /// How much of the memory the process may take; `None` for all that the limits allow.
    pub budget: Option<Bytes>,
    /// Sequences that the program keeps room for; `None` for its own default.
    pub parallel: Option<u32>,
}

impl Default for EngineSetup {
    fn default() -> Self {
        Self {
            program: Program::MlxLm,
            prefill_step: PREFILL_STEP,
            kv: None,
            reserve: None,
            gpu_limit: None,
            budget: None,
            parallel: None,
        }
    }
}

impl EngineSetup {
    /// The type of the cache as engines name it: `f16`, or `q8` and the like when it is quantised.
    #[must_use]
    pub fn kv_type(&self) -> String {
        self.kv.map_or_else(|| "f16".to_owned(), |kv| format!("q{}", kv.packing.bits))
    }
}
