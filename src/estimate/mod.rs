//! From a model, a run and a machine to an answer: the one estimator, and all that it says.

mod answer;
pub mod basis;
mod bins;
pub mod chance;
mod estimator;
pub mod explain;
mod gguf_weights;
mod gpu;
pub mod memory;
pub mod opened;
mod prediction;
mod refusal;
mod serving;
pub mod speed;
mod stored;
mod towers;
mod versions;
mod warning;
pub mod widening;

pub use crate::calibration::Fidelity;
pub use crate::run::{Program, Run};
pub use answer::{EngineAnswer, MemoryAnswer, ModelAnswer, PredictionAnswer, RunKeys};
pub use basis::{Basis, Kernels, OwnRun, OwnRuns, OwnRunsUsed, Timed, Timing};
pub use chance::{Outcome, Spread};
pub use estimator::{EstimateError, Estimator, Figures};
pub use explain::Explanation;
pub use gguf_weights::GgufWeights;
pub use gpu::{gpu, uses_matrix_units};
pub use memory::Memory;
pub use opened::{OpenError, Opened, OpenedModel, Sources};
pub use prediction::{Longest, Named, Prediction, RunsHere, TimedAlone};
pub use refusal::Refusal;
pub use speed::{Decode, Prefill, Speed};
pub use stored::StoredWeights;
pub use warning::Warning;
pub use widening::Widening;
