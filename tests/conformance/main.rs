//! Sizes and counts against vectors computed with the real mlx-lm (see tests/data/README.md).

mod assembled;
mod common_sense;
mod families;
mod golden;
mod hostile;
mod monotone;
mod peaks;
mod shards;
mod training;
mod vision;
