//! MLX in this process: Metal on Apple Silicon, the CPU backend on Linux.
//!
//! [`Model`] executes the trace of a graph operation by operation, so that every family runs that has a Graph.

mod backward;
pub mod clock;
mod error;
mod execute;
mod fused;
mod generate;
mod kernel_timing;
mod kernels;
mod layer_timing;
mod memory;
mod model;
mod node;
mod ops;
mod product_timing;
mod sample;
mod sampled;
mod scalar;
mod training;
mod weights;

use mlx_rs as rs;

pub use error::EngineError;
pub use generate::{Finish, GenerationRequest, MlxGeneration};
pub use kernel_timing::{TimingProgress, calibrate};
pub use layer_timing::{LayerEstimate, LayerTimer};
pub use memory::{MlxMemory, backend, clear_cache, process_bytes, reset_peak, version};
pub use model::{Model, Session, StepOutput};
pub use ops::Array;
pub use product_timing::{TimedProduct, time_product};
pub use sampled::{LikeLayers, Sampled};
pub use training::TrainingProcess;
pub use weights::LoadedWeights;
