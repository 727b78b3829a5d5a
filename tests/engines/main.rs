//! Engines behind HTTP and as subprocesses: a server written for the tests that misbehaves, and real ones.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod cli;
mod fake;
mod hostile;
mod interrupted;
#[cfg(feature = "mlx")]
mod real;
mod scenarios;

/// Real engines need what `cargo xtask setup` brings, so they belong to the tests with the feature `mlx`; without it they
/// are listed as left out.
#[cfg(not(feature = "mlx"))]
#[test]
#[ignore = "mlx_lm.server, llama.cpp and mlx_lm.benchmark need the feature mlx: cargo xtask test"]
fn real_engines() {
    panic!("cargo xtask test runs them");
}
