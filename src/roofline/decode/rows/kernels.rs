//! Which kernel runs a product of several rows: what MLX decides by the chip, the size and its own version
//! (`mlx/backend/metal/quantized.cpp`, `matmul.cpp`), and llama.cpp by the number of rows (`ggml-metal-ops.cpp`).

use crate::hardware::Tier;
use crate::roofline::Silicon;
use crate::roofline::features::Coding;
use crate::run::Version;

/// First MLX with `qmv_wide`, which unpacks a weight once for up to five rows (M3 and later; any chip for formats of
/// floating point).
pub const WIDE_SINCE: Version = Version::new(0, 32, 0);
/// First MLX with `gemv_wide` for 16-bit weights (M3 and later).
const FLOAT_WIDE_SINCE: Version = Version::new(0, 32, 2);
/// Rows from which MLX multiplies 16-bit matrices with its matrix kernel.
const FLOAT_MATRIX_FROM: f64 = 16.0;
/// Rows from which llama.cpp uses its matrix kernel.
const LLAMA_MATRIX_FROM: f64 = 9.0;
/// Pairs of token and expert from which MLX gathers with a matrix kernel, where they are also [`PAIRS_PER_EXPERT`] for each.
const FEWEST_PAIRS: f64 = 16.0;
/// Pairs for each expert of the layer from which it does.
const PAIRS_PER_EXPERT: f64 = 4.0;

/// The kernels of a chip and a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowKernels {
    generation: u32,
    ultra: bool,
    /// The version of MLX; `None` for llama.cpp.
    mlx: Option<Version>,
}

impl RowKernels {
    /// The kernels of MLX in a version, or of llama.cpp where it is `None`.
    #[must_use]
    pub fn of(silicon: &Silicon, mlx: Option<Version>) -> Self {
        Self { generation: silicon.generation, ultra: silicon.tier == Tier::Ultra, mlx }
    }

    /// Rows from which a quantized product runs on a matrix kernel.
    #[must_use]
    pub fn matrix_from(&self, inner: u64, outer: u64) -> f64 {
        if self.mlx.is_none() {
            return LLAMA_MATRIX_FROM;
        }
        let [small, middle, large] = match (self.ultra, self.generation) {
            (true, _) => [32.0, 18.0, 12.0],
            (false, 0..=2) => [14.0, 10.0, 6.0],
            (false, 3..=4) => [13.0, 15.0, 13.0],
            (false, _) => [33.0, 25.0, 13.0],
        };
        match inner.max(outer) {
            0..=2048 => small,
            2049..=4096 => middle,
            _ => large,
        }
    }

    /// Whether few rows of such weights run on the wide kernel.
    #[must_use]
    pub fn wide(&self, coding: Coding) -> bool {
        let new = self.mlx.is_some_and(|mlx| mlx >= WIDE_SINCE);
        new && (self.generation >= 3 || coding == Coding::Simple)
    }

    /// Rows from which a 16-bit product takes the time of a matrix kernel.
    #[must_use]
    pub fn float_matrix_from(&self) -> f64 {
        match self.mlx {
            None => LLAMA_MATRIX_FROM,
            Some(mlx) if mlx >= FLOAT_WIDE_SINCE && self.generation >= 3 => FLOAT_MATRIX_FROM,
            Some(_) => 2.0,
        }
    }

    /// Rows up to which chosen experts are multiplied pair by pair.
    #[must_use]
    pub fn experts_matrix_from(experts: u64, chosen: f64) -> f64 {
        (FEWEST_PAIRS / chosen).max(PAIRS_PER_EXPERT * experts as f64 / chosen)
    }
}
