//! Measuring engines: the protocol, its statistics, and the engines behind HTTP or a subprocess.
//!
//! Rules that every scenario follows: a warm-up that is not counted; prompts that no prefix cache has seen; a pause
//! between trials; engines in turn, so that heat and background load hit all of them; no repetition of a timed
//! request; failures counted and shown; token counts from the engine, never from the pieces of a stream; all raw
//! trials kept.

pub mod arrivals;
pub mod energy;
pub mod export;
pub mod failure;
pub mod generation;
pub mod generator;
pub mod http;
#[cfg(mlx)]
pub mod in_process;
pub mod journal;
pub mod local;
pub mod memory;
pub mod mlx_lm;
pub mod plots;
pub mod predicted;
pub mod prompts;
pub mod record;
#[cfg(mlx)]
pub mod resident;
pub mod run;
pub mod scenario;
pub mod stop;
pub mod summary;
pub mod tokenizer;
pub mod trial;

pub use failure::{Failure, FailureKind};
pub use generation::{ChatRole, CountSource, Counts, Generation, OwnTimings, Prompt};
pub use generator::Generator;
pub use memory::MemoryReading;
pub use stop::Stop;
pub use trial::{Trial, TrialFlag};
