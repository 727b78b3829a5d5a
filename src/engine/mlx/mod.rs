//! MLX in this process: Metal on Apple Silicon, the CPU backend on Linux.
//!
//! [`Model`] executes the trace of a graph operation by operation, so that every family runs that has a Graph.

mod error;
mod execute;
mod fused;
mod kernels;
mod model;
mod node;
mod ops;
mod scalar;
mod weights;

use mlx_rs as rs;

pub use error::EngineError;
pub use model::{Model, StepOutput};
pub use ops::Array;
pub use weights::Weights;
