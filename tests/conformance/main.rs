//! Sizes and counts against vectors computed with the real mlx-lm (see tests/data/README.md).

mod assembled;
mod families;
mod golden;
mod hostile;
mod peaks;
mod vision;
