//! mlxplan predicts speed, memory and maximum context of language models on Apple Silicon, with error bars.

// No input may end the program with a panic. Where one is impossible, `#[expect]` says why.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
// Standard error may be closed; writing there must not end the program.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod advise;
pub mod audit;
pub mod bench;
pub mod calibration;
pub mod clean;
pub mod cli;
pub mod data_dir;
pub mod engine;
pub mod estimate;
pub mod files;
pub mod graph;
pub mod hardware;
mod http;
pub mod ledger;
pub mod model;
pub mod report;
pub mod roofline;
pub mod run;
pub mod stats;
pub mod units;
pub mod validation;
pub mod versions;
