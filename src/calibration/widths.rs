//! How wide intervals are beyond what the spread of the timings explains.
//!
//! Each is the standard deviation of the logarithm of a time with which 90 % intervals held 90 % of the runs in
//! `data/live_runs.jsonl` whose `set` is `fitted_on` (`validate --suite --fitted-on`), rounded up to a thousandth:
//! [`crate::calibration::evidence::unexplained`]. The test `tests/records/widths.rs` repeats that, and says how many of the held-out
//! runs the intervals held. All runs so far are of one machine, a Linux virtual machine with MLX's CPU backend; no Mac has
//! been calibrated.

/// Kernels of other shapes than the timed ones, what lies between kernels, and the machine's pace since the calibration.
pub const DECODE_LAW: f64 = 0.052;
/// The same of prompts.
pub const PROMPT_LAW: f64 = 0.04;
/// The same of training steps. No run has been timed beside a calibration: half of the width that published runs have on spec
/// sheets, as if a calibration told nothing better.
pub const TRAINING_LAW: f64 = 0.085;
/// Extrapolating from a few layers to all, when layers and model are run turn about.
pub const LAYERS: f64 = 0.007;
/// The machine's pace from one minute to a later one: the same measured twice.
pub const PACE: f64 = 0.031;
