//! Running models: the operations of a [`Graph`](crate::graph::Graph), executed by MLX in this process.
//!
//! The parts that need MLX stand in `mlx` and exist only with the feature `mlx`.

pub mod installed;
pub mod load;
pub mod lora;
#[cfg(mlx)]
pub mod mlx;
pub mod programs;
pub mod text;
