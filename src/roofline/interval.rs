//! Multiplicative prediction intervals from left-out clusters.

use crate::run::Program;
use serde::{Deserialize, Serialize};

/// Factors on a predicted rate: the lower and upper ends of the interval are `rate * low` and `rate * high`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// Lower and upper factor of the 80 % interval.
    pub p80: [f64; 2],
    /// Lower and upper factor of the 90 % interval.
    pub p90: [f64; 2],
}

impl Band {
    /// The intervals of a rate.
    #[must_use]
    pub fn around(&self, rate: f64) -> ([f64; 2], [f64; 2]) {
        (self.p80.map(|f| f * rate), self.p90.map(|f| f * rate))
    }

    /// The band with both ends moved apart by a factor, as a power: 1 leaves it, 2 doubles it on the logarithm.
    #[must_use]
    pub fn widened(&self, power: f64) -> Self {
        let wide = |[low, high]: [f64; 2]| [low.powf(power), high.powf(power)];
        Self { p80: wide(self.p80), p90: wide(self.p90) }
    }
}

/// The band of a class of predictions, with the left-out configurations it was taken from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassBand {
    /// Name of the class.
    pub class: String,
    /// Configurations in it.
    pub configurations: u32,
    /// The band.
    #[serde(flatten)]
    pub band: Band,
}

/// Class of a decode prediction: by program and by the bytes that a step reads.
#[must_use]
pub fn decode_class(program: Program, bytes_per_step: f64, experts: bool) -> &'static str {
    match program {
        Program::LlamaCpp => "llama.cpp",
        Program::Ollama => "ollama",
        _ if experts => "mlx-experts",
        _ if bytes_per_step < 1e9 => "mlx-below-1gb",
        _ if bytes_per_step < 3e9 => "mlx-1-to-3gb",
        _ => "mlx-from-3gb",
    }
}

/// Class of a prefill prediction.
#[must_use]
pub const fn prefill_class(matrix_units: bool) -> &'static str {
    if matrix_units { "matrix-units" } else { "shaders" }
}
