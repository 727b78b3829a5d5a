//! What can go wrong when a model is read from somewhere.

use super::gguf::GgufError;
use super::hub::HubError;
use super::safetensors::HeaderError;
use crate::model::config::ConfigError;
use std::path::PathBuf;
use thiserror::Error;

/// A problem with a model's files. The text names the file and what to do.
#[derive(Debug, Error)]
pub enum SourceError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// A text file is longer than any real one.
    #[error("{} is longer than {limit} bytes; that is no {what}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What it was expected to be.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// A folder holds no model.
    #[error("{} is no model folder: {problem}", path.display())]
    NotAModel {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// A configuration is wrong.
    #[error("{file}: {error}")]
    Config {
        /// File or address.
        file: String,
        /// What is wrong.
        error: ConfigError,
    },
    /// A safetensors header is wrong.
    #[error("{file}: {error}")]
    Header {
        /// File or address.
        file: String,
        /// What is wrong.
        error: HeaderError,
    },
    /// The list of shards is wrong.
    #[error("{file}: {problem}")]
    ShardIndex {
        /// File or address.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// A shard is absent.
    #[error(
        "{place}: the shard {shard} is missing, so the model is incomplete; finish the download and try again"
    )]
    MissingShard {
        /// Folder or repository.
        place: String,
        /// Name of the absent file.
        shard: String,
    },
    /// Headers do not fit together.
    #[error("{place}: {problem}")]
    Inconsistent {
        /// Folder or repository.
        place: String,
        /// What does not fit.
        problem: String,
    },
    /// A GGUF file is wrong.
    #[error("{}: {error}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: GgufError,
    },
    /// Something about the hub went wrong.
    #[error(transparent)]
    Hub(#[from] HubError),
}

impl SourceError {
    /// Whether nothing is wrong but that the network must not be used.
    #[must_use]
    pub const fn is_offline(&self) -> bool {
        matches!(self, Self::Hub(HubError::Offline(_)))
    }

    pub(crate) fn io(path: impl Into<PathBuf>, error: std::io::Error) -> Self {
        Self::Io { path: path.into(), error }
    }
}
