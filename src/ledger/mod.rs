//! Readings of a [`Graph`](crate::graph::Graph): bytes of weights and caches, traffic of a step, peak memory.

pub mod cache;
pub mod gguf;
pub mod kept;
pub mod llama_cpp;
pub mod pages;
pub mod peak;
pub mod replay;
pub mod shards;
pub mod traffic;
pub mod training;
pub mod weights;
