//! Engines behind HTTP and as subprocesses: a server written for the tests that misbehaves, and real ones.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[cfg(all(feature = "mlx", feature = "mcp"))]
mod agent;
mod cli;
#[cfg(feature = "mlx")]
mod drafts;
mod fake;
mod hostile;
mod interrupted;
// Real engines need what `cargo xtask setup` brings, as does the feature.
#[cfg(feature = "mlx")]
mod real;
mod scenarios;
#[path = "../common/schema.rs"]
mod schema;
#[cfg(feature = "mlx")]
mod settings;
#[path = "../common/signals.rs"]
mod signals;
#[cfg(feature = "mlx")]
mod training;
