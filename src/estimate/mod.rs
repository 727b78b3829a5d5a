//! From a model, a run and a machine to an answer: the one estimator, and all that it says.

mod answer;
pub mod basis;
mod bins;
pub mod chance;
mod estimator;
pub mod explain;
mod gpu;
pub mod memory;
pub mod opened;
mod prediction;
pub mod speed;
mod towers;
mod warning;
pub mod widening;

pub use crate::calibration::Fidelity;
pub use crate::run::{Program, Run};
pub use answer::{EngineAnswer, MemoryAnswer, ModelAnswer, PredictionAnswer, RunKeys};
pub use basis::{Basis, Kernels, Timed, Timing};
pub use chance::{Outcome, Spread};
pub use estimator::{EstimateError, Estimator, Figures};
pub use explain::Explanation;
pub use gpu::gpu;
pub use memory::Memory;
pub use opened::{OpenError, Opened, OpenedModel, Sources};
pub use prediction::{AtLeast, Longest, Named, Prediction, RunsHere, TimedAlone};
pub use speed::{Decode, Prefill, Speed};
pub use warning::Warning;
pub use widening::Widening;
