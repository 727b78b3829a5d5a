//! Why a model cannot be opened.

use crate::engine::load::LoadRefusal;
use crate::graph::GraphError;
use crate::graph::tape::TraceError;
use crate::model::catalog::ModelsError;
use crate::model::names::NameError;
use crate::model::source::SourceError;
use crate::model::{NamedFormat, UnknownFormat};
use thiserror::Error;

/// What to do about shapes that do not go together.
pub(crate) const SIZES_HINT: &str = "the sizes in its configuration do not go together; compare hidden_size, num_attention_heads, \
                              num_key_value_heads and head_dim with those of the published model";

/// Why a model cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] ModelsError),
    /// The files or the repository.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The quantization that was asked for is unknown.
    #[error(transparent)]
    Format(#[from] UnknownFormat),
    /// A repository that is not known here, offline.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The configuration or the conversion.
    #[error("{name}: {error}")]
    Graph {
        /// The model.
        name: String,
        /// What is wrong.
        error: GraphError,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The sizes in the configuration do not go together.
    #[error("{file}: {error}")]
    CannotRun {
        /// The file or address.
        file: String,
        /// What fails.
        error: TraceError,
    },
    /// The files are quantized already.
    #[error("{name} is already quantized ({found}), so --quant {asked} cannot be applied to it")]
    AlreadyQuantized {
        /// The model.
        name: String,
        /// As the files say.
        found: String,
        /// As was asked.
        asked: NamedFormat,
    },
    /// The engine refuses the files.
    #[error("{name}: {refusal}{}", instead.as_ref().map_or_else(String::new, |i| format!("; {i}")))]
    Refused {
        /// The model.
        name: String,
        /// What the engine says.
        refusal: LoadRefusal,
        /// The engine that would load it, with its size.
        instead: Option<String>,
    },
    /// The configuration is of no language model.
    #[error("{name} is {what}, not a language model: mlx-lm generates no text with it")]
    NotALanguageModel {
        /// The model.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// A GGUF file without a configuration.
    #[error("{name}: {reason}")]
    NoConfiguration {
        /// The model.
        name: String,
        /// Why.
        reason: String,
    },
}

impl OpenError {
    /// What the user can do about it, where more can be said than the error itself does.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Graph { hint, .. } => hint.as_deref(),
            Self::CannotRun { .. } => Some(SIZES_HINT),
            Self::Refused { .. } => Some(
                "name an MLX conversion of the model (…-4bit), or give --quant to plan one of the original",
            ),
            _ => None,
        }
    }
}

/// A repository that is neither known nor can be looked up.
#[derive(Debug, Error)]
#[error(
    "the configuration of '{repo}' is not known here, and this is an offline run; the index of the hub knows {known}. \
     Leave out --offline, name a similar model, or give a folder with its config.json"
)]
pub struct Unreachable {
    /// The repository.
    pub repo: String,
    /// What the index of the hub says of it.
    pub known: String,
}
