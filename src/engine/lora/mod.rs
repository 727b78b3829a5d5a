//! What `mlx_lm.lora` reads: its configuration file and the data it trains on.

pub mod config;
pub mod data;
mod length;
mod yaml;
