//! The programs that run models.

use super::Label;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A program that runs models, as far as memory and speed depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Program {
    /// mlx-lm in process: `mlx_lm.generate`.
    #[default]
    MlxLm,
    /// `mlx_lm.server`.
    MlxServer,
    /// mlx-vlm.
    MlxVlm,
    /// Programs on MLX Swift.
    MlxSwift,
    /// LM Studio's MLX runtime.
    LmStudio,
    /// oMLX.
    Omlx,
    /// vllm-mlx.
    VllmMlx,
    /// vllm-metal.
    VllmMetal,
    /// Rapid-MLX.
    RapidMlx,
    /// vMLX.
    Vmlx,
    /// MTPLX.
    Mtplx,
    /// exo.
    Exo,
    /// Ollama's MLX runner.
    OllamaMlx,
    /// llama.cpp.
    LlamaCpp,
    /// LM Studio's llama.cpp runtime.
    LmStudioGguf,
    /// Ollama.
    Ollama,
    /// A program that is not listed.
    Other(Unlisted),
}

/// A program that nothing is known of but its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unlisted {
    /// Its name.
    pub name: Label,
    /// Whether it is taken to run GGUF files, by llama.cpp, rather than MLX weights.
    pub gguf: bool,
}

/// Names that programs are also known by.
const ALIASES: [(&str, Program); 14] = [
    ("mlx", Program::MlxLm),
    ("mlx-lm.generate", Program::MlxLm),
    ("mlx-lm.server", Program::MlxServer),
    ("mlx-server", Program::MlxServer),
    ("mlx-swift-lm", Program::MlxSwift),
    ("lmstudio", Program::LmStudio),
    ("lmstudio-mlx", Program::LmStudio),
    ("lm-studio-mlx", Program::LmStudio),
    ("mlx-engine", Program::LmStudio),
    ("lmstudio-gguf", Program::LmStudioGguf),
    ("llama-cpp", Program::LlamaCpp),
    ("llamacpp", Program::LlamaCpp),
    ("llama-server", Program::LlamaCpp),
    ("llama-cli", Program::LlamaCpp),
];

/// Words in the names of programs that are built on llama.cpp.
const ON_LLAMA_CPP: [&str; 4] = ["llama", "gguf", "cpp", "ggml"];

impl Program {
    /// All programs that are listed.
    pub const ALL: [Self; 16] = [
        Self::MlxLm,
        Self::MlxServer,
        Self::MlxVlm,
        Self::MlxSwift,
        Self::LmStudio,
        Self::Omlx,
        Self::VllmMlx,
        Self::VllmMetal,
        Self::RapidMlx,
        Self::Vmlx,
        Self::Mtplx,
        Self::Exo,
        Self::OllamaMlx,
        Self::LlamaCpp,
        Self::LmStudioGguf,
        Self::Ollama,
    ];

    /// The program's name on the command line, in JSON and in `data/engines.toml`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Other(other) => other.name.as_str(),
            listed => listed.listed_name().unwrap_or_default(),
        }
    }

    /// The name of a program that is listed.
    #[must_use]
    pub const fn listed_name(self) -> Option<&'static str> {
        Some(match self {
            Self::MlxLm => "mlx-lm",
            Self::MlxServer => "mlx-lm-server",
            Self::MlxVlm => "mlx-vlm",
            Self::MlxSwift => "mlx-swift",
            Self::LmStudio => "lm-studio",
            Self::Omlx => "omlx",
            Self::VllmMlx => "vllm-mlx",
            Self::VllmMetal => "vllm-metal",
            Self::RapidMlx => "rapid-mlx",
            Self::Vmlx => "vmlx",
            Self::Mtplx => "mtplx",
            Self::Exo => "exo",
            Self::OllamaMlx => "ollama-mlx",
            Self::LlamaCpp => "llama.cpp",
            Self::LmStudioGguf => "lm-studio-gguf",
            Self::Ollama => "ollama",
            Self::Other(_) => return None,
        })
    }

    /// Whether it runs GGUF files rather than MLX weights.
    #[must_use]
    pub const fn runs_gguf(self) -> bool {
        match self {
            Self::LlamaCpp | Self::LmStudioGguf | Self::Ollama => true,
            Self::Other(other) => other.gguf,
            _ => false,
        }
    }

    /// Whether it is mlx-lm, in process or as a server.
    #[must_use]
    pub const fn is_mlx_lm(self) -> bool {
        matches!(self, Self::MlxLm | Self::MlxServer)
    }

    /// Whether it answers requests of several users, which costs time around every one.
    #[must_use]
    pub const fn is_mlx_server(self) -> bool {
        !self.runs_gguf() && !matches!(self, Self::MlxLm | Self::MlxSwift)
    }

    /// The program whose runs stand for this one: Ollama for itself, llama.cpp for all others that run GGUF files, mlx-lm
    /// for all on MLX.
    #[must_use]
    pub const fn kind(self) -> Self {
        match self {
            Self::Ollama => Self::Ollama,
            other if other.runs_gguf() => Self::LlamaCpp,
            _ => Self::MlxLm,
        }
    }

    /// The program that runs a file of weights where this one was asked for: a program that is not listed is taken to
    /// run what it is given.
    #[must_use]
    pub const fn running(self, gguf: bool) -> Self {
        match self {
            Self::Other(Unlisted { name, .. }) => Self::Other(Unlisted { name, gguf }),
            listed => listed,
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

/// A text that cannot be the name of a program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "'{0}' is no name of a program; write one like mlx-lm, mlx-lm-server, lm-studio, omlx, llama.cpp or ollama (letters, \
     digits and '-', at most {longest} characters)",
    longest = Label::LONGEST
)]
pub struct BadProgramName(pub String);

impl FromStr for Program {
    type Err = BadProgramName;

    /// Reads the name of a program in any case; one that is not listed is taken as it is.
    fn from_str(text: &str) -> Result<Self, BadProgramName> {
        let name = text.trim().to_ascii_lowercase().replace(['_', ' '], "-");
        let listed = Self::ALL.into_iter().find(|p| p.name() == name);
        let alias = || ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, p)| *p);
        let other = || {
            let gguf = ON_LLAMA_CPP.iter().any(|word| name.contains(word));
            Label::new(&name).map(|name| Self::Other(Unlisted { name, gguf }))
        };
        listed.or_else(alias).or_else(other).ok_or_else(|| BadProgramName(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_spelling() {
        for program in Program::ALL {
            assert_eq!(program.name().parse(), Ok(program));
            assert_eq!(program.name().to_uppercase().replace('-', "_").parse(), Ok(program));
        }
        for (alias, program) in ALIASES {
            assert_eq!(alias.parse(), Ok(program));
        }
    }

    #[test]
    fn an_unlisted_name_is_a_program_of_its_own() {
        let gguf = |text: &str| text.parse::<Program>().map(|p| (p.to_string(), p.runs_gguf()));
        assert_eq!(gguf("Osaurus"), Ok(("osaurus".to_owned(), false)));
        assert_eq!(gguf("koboldcpp"), Ok(("koboldcpp".to_owned(), true)));
        assert!(gguf("").is_err() && gguf("a/b").is_err() && gguf(&"x".repeat(40)).is_err());
    }
}
