//! What a server does in a turn, by program.

use crate::run::{Program, Run};
use schemars::JsonSchema;
use serde::Serialize;

/// How a server takes in requests, reads prompts and generates.
///
/// A turn of `mlx_lm.server` is one decode step of all sequences that generate, then one chunk of the prompts that are
/// read (`BatchGenerator._next`, `mlx_lm/generate.py`). The others are taken to work in the same turns, because most of
/// them drive that generator or, like llama.cpp, fill a batch with what is left beside the tokens of a step.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Scheduler {
    /// Sequences that generate at once, at most.
    pub generating: u32,
    /// Prompts that are read at once, at most; shorter ones are padded to the longest.
    pub reading: u32,
    /// Tokens of each prompt that are read in a turn.
    pub chunk: u32,
    /// Seconds of turns between two looks at new requests (`TimeBudget` of `mlx_lm/server.py`).
    pub looks_every_s: f64,
    /// Why requests are served one at a time, where they are.
    pub one_at_a_time: Option<OneAtATime>,
}

/// Why a server does not batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OneAtATime {
    /// The program has no batches, or was started for one request.
    Program,
    /// Quantized caches cannot be merged.
    QuantizedCache,
    /// A cache of the model cannot be merged.
    CacheOfTheModel,
    /// A draft model runs beside the model.
    Draft,
}

impl OneAtATime {
    /// The reason in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Program => "the program serves one request at a time",
            Self::QuantizedCache => {
                "--kv-bits switches batching off: quantized caches cannot be merged, and requests are served one at a time"
            }
            Self::CacheOfTheModel => {
                "a cache of this model cannot be merged, so that requests are served one at a time"
            }
            Self::Draft => "drafts switch batching off: requests are served one at a time",
        }
    }
}

/// Seconds for which mlx_lm.server generates before it looks for new requests.
const BUDGET_S: f64 = 0.5;

impl Scheduler {
    /// The scheduler of the engine of a run, whose caches can be merged or not.
    #[must_use]
    pub fn of(run: &Run, merges: bool) -> Self {
        let engine = &run.engine;
        let program = engine.program;
        let asked = engine.parallel.unwrap_or(engine.slots).max(1);
        let batching = Self {
            generating: asked,
            reading: engine.prompt_slots.clamp(1, asked),
            chunk: engine.prefill_step.max(1),
            looks_every_s: if program == Program::MlxServer { BUDGET_S } else { 0.0 },
            one_at_a_time: None,
        };
        let why = if asked == 1 {
            Some(OneAtATime::Program)
        } else if program.runs_gguf() {
            None
        } else if engine.kv.is_some() {
            Some(OneAtATime::QuantizedCache)
        } else if run.draft.is_some() {
            Some(OneAtATime::Draft)
        } else if !merges {
            Some(OneAtATime::CacheOfTheModel)
        } else {
            None
        };
        match why {
            Some(_) => Self { generating: 1, reading: 1, one_at_a_time: why, ..batching },
            None => batching,
        }
    }

    /// The same with at most so many sequences at once, and so many prompts read at once.
    #[must_use]
    pub fn limited_to(self, generating: u32, reading: u32) -> Self {
        let generating = self.generating.min(generating).max(1);
        Self { generating, reading: self.reading.min(reading).clamp(1, generating), ..self }
    }
}
