//! Sizes and counts against vectors computed with the real mlx-lm (see tests/data/README.md).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is wrong"
)]

mod families;
mod golden;
mod hostile;
mod peaks;
