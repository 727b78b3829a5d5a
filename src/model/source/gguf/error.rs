//! What is wrong with a GGUF file.

use thiserror::Error;

/// What is wrong with a GGUF file.
#[derive(Debug, Error)]
pub enum GgufError {
    /// Reading failed.
    #[error("cannot be read: {0}")]
    Io(std::io::Error),
    /// Another kind of file.
    #[error("is no GGUF file (it does not begin with 'GGUF')")]
    NotGguf,
    /// An unknown version of the format.
    #[error(
        "is GGUF version {0}; versions 2 and 3 are known. Convert the model again with a current llama.cpp"
    )]
    Version(u32),
    /// Written for a machine with the other byte order.
    #[error(
        "is a big-endian GGUF file; Apple Silicon is little-endian. Download the ordinary file"
    )]
    BigEndian,
    /// The header is not complete.
    #[error("is cut off in its header, at {0}")]
    Truncated(String),
    /// The header contradicts itself.
    #[error("has a wrong header: {0}")]
    Wrong(String),
    /// One of several files is absent.
    #[error("is part of a split model, of which {0} is missing; put all parts into one folder")]
    MissingPart(String),
}
