//! The fitted laws, and figures that exist once for each.

use crate::run::Program;
use serde::{Deserialize, Serialize};

/// A fitted law of speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LawKind {
    /// Decode with MLX.
    Mlx,
    /// Decode of GGUF files with llama.cpp and Ollama.
    Gguf,
    /// Prefill with MLX.
    Prefill,
}

impl LawKind {
    /// All laws, in the order in which they are fitted: GGUF decode builds on MLX decode.
    pub const ALL: [Self; 3] = [Self::Mlx, Self::Gguf, Self::Prefill];

    /// Name in `coefficients.json` and `cross_validation.csv`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mlx => "mlx",
            Self::Gguf => "gguf",
            Self::Prefill => "prefill",
        }
    }

    /// The law that decode of a program follows.
    #[must_use]
    pub const fn of_decode(program: Program) -> Self {
        if program.runs_gguf() { Self::Gguf } else { Self::Mlx }
    }
}

/// Something for every law.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerLaw<T> {
    /// Decode with MLX.
    pub mlx: T,
    /// Decode of GGUF files.
    pub gguf: T,
    /// Prefill.
    pub prefill: T,
}

impl<T> PerLaw<T> {
    /// What a law has.
    #[must_use]
    pub const fn of(&self, law: LawKind) -> &T {
        match law {
            LawKind::Mlx => &self.mlx,
            LawKind::Gguf => &self.gguf,
            LawKind::Prefill => &self.prefill,
        }
    }

    /// The same, to change it.
    pub const fn of_mut(&mut self, law: LawKind) -> &mut T {
        match law {
            LawKind::Mlx => &mut self.mlx,
            LawKind::Gguf => &mut self.gguf,
            LawKind::Prefill => &mut self.prefill,
        }
    }
}
