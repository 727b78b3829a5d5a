//! Real MLX: what the engine computes against mlx-lm on the same weights. Needs `cargo xtask setup`.
#![cfg(mlx)]

mod cli;
mod families;
mod files;
mod reference;
#[path = "../common/schema.rs"]
mod schema;
#[path = "../common/signals.rs"]
mod signals;
mod smollm2;
mod training;
