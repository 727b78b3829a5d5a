//! The programs that run models.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A program that runs models, as far as memory and speed depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Program {
    /// mlx-lm in process.
    #[default]
    MlxLm,
    /// Programs on MLX Swift.
    MlxSwift,
    /// LM Studio's MLX runtime.
    LmStudio,
    /// Another HTTP server on MLX.
    MlxServer,
    /// llama.cpp.
    LlamaCpp,
    /// LM Studio's llama.cpp runtime.
    LmStudioGguf,
    /// Ollama.
    Ollama,
}

impl Program {
    /// All programs.
    pub const ALL: [Self; 7] = [
        Self::MlxLm,
        Self::MlxSwift,
        Self::LmStudio,
        Self::MlxServer,
        Self::LlamaCpp,
        Self::LmStudioGguf,
        Self::Ollama,
    ];

    /// The programs that predictions can be asked for.
    pub const PREDICTED: [Self; 3] = [Self::MlxLm, Self::LlamaCpp, Self::Ollama];

    /// The program's name on the command line, in JSON and in `data/engines.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MlxLm => "mlx-lm",
            Self::MlxSwift => "mlx-swift",
            Self::LmStudio => "lm-studio",
            Self::MlxServer => "mlx-lm-server",
            Self::LlamaCpp => "llama.cpp",
            Self::LmStudioGguf => "lm-studio-gguf",
            Self::Ollama => "ollama",
        }
    }

    /// Whether it runs GGUF files rather than MLX weights.
    #[must_use]
    pub const fn runs_gguf(self) -> bool {
        matches!(self, Self::LlamaCpp | Self::LmStudioGguf | Self::Ollama)
    }

    /// The program whose runs stand for this one: llama.cpp for LM Studio's runtime of it, mlx-lm for all others on MLX.
    #[must_use]
    pub const fn kind(self) -> Self {
        match self {
            Self::MlxLm | Self::MlxSwift | Self::LmStudio | Self::MlxServer => Self::MlxLm,
            Self::LlamaCpp | Self::LmStudioGguf => Self::LlamaCpp,
            Self::Ollama => Self::Ollama,
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Program {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl JsonSchema for Program {
    fn schema_name() -> Cow<'static, str> {
        "Program".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// A name that is no program that predictions can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown engine '{0}'; known: mlx-lm, llama.cpp, ollama")]
pub struct UnknownProgram(pub String);

impl FromStr for Program {
    type Err = UnknownProgram;

    /// Reads the name of a program that predictions can be asked for; `mlx` is an alias of `mlx-lm`.
    fn from_str(text: &str) -> Result<Self, UnknownProgram> {
        let named = |p: &Self| p.name() == text || (*p == Self::MlxLm && text == "mlx");
        Self::PREDICTED.into_iter().find(named).ok_or_else(|| UnknownProgram(text.to_owned()))
    }
}
