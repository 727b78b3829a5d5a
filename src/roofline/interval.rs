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

/// A class of predictions that share an interval, named as in `coefficients.json` and in the order of that file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum IntervalClass {
    /// Decode with llama.cpp.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// Decode of GGUF files with LM Studio, whose runtime is of an unknown build.
    #[serde(rename = "lm-studio-gguf")]
    LmStudioGguf,
    /// Decode with MLX, 1 to 3 GB a step.
    #[serde(rename = "mlx-1-to-3gb")]
    MlxOneToThreeGb,
    /// Decode with MLX, less than 1 GB a step.
    #[serde(rename = "mlx-below-1gb")]
    MlxBelowOneGb,
    /// Decode with MLX of a model with routed experts.
    #[serde(rename = "mlx-experts")]
    MlxExperts,
    /// Decode with MLX, 3 GB a step and more.
    #[serde(rename = "mlx-from-3gb")]
    MlxFromThreeGb,
    /// Decode with Ollama.
    #[serde(rename = "ollama")]
    Ollama,
    /// Prefill on a GPU with matrix units.
    #[serde(rename = "matrix-units")]
    MatrixUnits,
    /// Prefill on a GPU without.
    #[serde(rename = "shaders")]
    Shaders,
}

impl IntervalClass {
    /// Class of a decode prediction: by program and by the bytes that a step reads.
    #[must_use]
    pub fn of_decode(program: Program, bytes_per_step: f64, experts: bool) -> Self {
        if program == Program::Ollama {
            Self::Ollama
        } else if program == Program::LmStudioGguf {
            Self::LmStudioGguf
        } else if program.runs_gguf() {
            Self::LlamaCpp
        } else if experts {
            Self::MlxExperts
        } else if bytes_per_step < 1e9 {
            Self::MlxBelowOneGb
        } else if bytes_per_step < 3e9 {
            Self::MlxOneToThreeGb
        } else {
            Self::MlxFromThreeGb
        }
    }

    /// Name in `coefficients.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llama.cpp",
            Self::LmStudioGguf => "lm-studio-gguf",
            Self::MlxOneToThreeGb => "mlx-1-to-3gb",
            Self::MlxBelowOneGb => "mlx-below-1gb",
            Self::MlxExperts => "mlx-experts",
            Self::MlxFromThreeGb => "mlx-from-3gb",
            Self::Ollama => "ollama",
            Self::MatrixUnits => "matrix-units",
            Self::Shaders => "shaders",
        }
    }

    /// Class of a prefill prediction.
    #[must_use]
    pub const fn of_prefill(matrix_units: bool) -> Self {
        if matrix_units { Self::MatrixUnits } else { Self::Shaders }
    }
}

/// The band of a class of predictions, with the left-out configurations it was taken from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassBand {
    /// The class.
    pub class: IntervalClass,
    /// Configurations in it.
    pub configurations: u32,
    /// The band.
    #[serde(flatten)]
    pub band: Band,
}
