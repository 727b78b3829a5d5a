//! Constants of products with several rows, each with where it comes from.
//!
//! They were taken from 77 published times of kernels and forward passes of 1 to 16 rows (M3 Max, M3 Ultra, M4 Pro, M5
//! Max; `data/beyond.csv`, topic `rows`) and 67 of batches and servers (topics `batch`, `server`), not by the fit of
//! `coefficients.json`, which has one row at a time only.

use crate::roofline::parameters::ByGeneration;
use crate::run::Program;

/// Power of the soft maximum of bus and arithmetic: at the point where both take as long, a product takes 15 % longer.
pub(super) const SMOOTHNESS: f64 = 5.0;

/// Rows of a tile of the matrix kernel without matrix units (`BM` of `qmm_t`, `mlx/backend/metal/kernels/quantized.h`).
pub(super) const TILE: f64 = 32.0;
/// Fraction of the peak that it reaches (M3 Max: 0.51 ms for 10 to 32 rows of 5120 × 17408, twice that for 33).
pub(super) const TILE_FRACTION: f64 = 0.78;
/// Rows of the smallest tile on matrix units.
pub(super) const UNIT_SMALL_TILE: f64 = 64.0;
/// Fraction of their peak that it reaches (M5 Max, forward passes of 12 and 16 rows).
pub(super) const UNIT_SMALL_FRACTION: f64 = 0.46;
/// Fraction that many rows reach.
pub(super) const UNIT_FRACTION: f64 = 0.82;

/// Bus times of a 16-bit product of 2 to 15 rows with `gemv_wide` (mlx pull 3888).
pub(super) const FLOAT_WIDE: f64 = 1.1;
/// Rows of a tile of the 16-bit matrix kernel.
pub(super) const FLOAT_TILE: f64 = 64.0;
/// Fraction of the peak that it reaches.
pub(super) const FLOAT_TILE_FRACTION: f64 = 0.75;

/// Weights times rows per second, core and GHz, in 10^9, of `qmv_wide`. The kernels of M1 and M2 repeat themselves for
/// every row, at the rate of one.
pub(in crate::roofline::decode) const WIDE: ByGeneration =
    ByGeneration { m1: 0.0, m2: 0.0, m3: 37.0, m4: 40.5, m5: 47.5 };
/// The same of `qmv`, which also serves experts.
pub(in crate::roofline::decode) const NARROW: ByGeneration =
    ByGeneration { m1: 0.0, m2: 0.0, m3: 31.0, m4: 33.5, m5: 36.0 };
/// Factor on both on Ultra chips.
pub(in crate::roofline::decode) const ULTRA: f64 = 0.69;

/// What a server adds to a step of several sequences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::roofline::decode) struct ServerCost {
    /// Milliseconds of a step.
    step_ms: f64,
    /// Milliseconds of every sequence in it: it samples and waits for each.
    sequence_ms: f64,
}

impl ServerCost {
    /// Seconds of a step of so many sequences.
    pub(in crate::roofline::decode) fn seconds(self, sequences: f64) -> f64 {
        1e-3 * (self.step_ms + self.sequence_ms * sequences)
    }
}

/// Servers in Python (11 rows of mlx_lm.server, vllm-mlx and omlx).
const SERVER_OF_PYTHON: ServerCost = ServerCost { step_ms: 0.9, sequence_ms: 0.95 };
/// Servers in Rust and Swift, and Rapid-MLX.
const SERVER_THAT_IS_NATIVE: ServerCost = ServerCost { step_ms: 0.8, sequence_ms: 0.5 };

/// What a server on MLX adds.
pub(in crate::roofline::decode) const fn server_cost(program: Program) -> ServerCost {
    match program {
        Program::RapidMlx | Program::MlxSwift | Program::OllamaMlx => SERVER_THAT_IS_NATIVE,
        _ => SERVER_OF_PYTHON,
    }
}
