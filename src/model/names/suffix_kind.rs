//! What the suffix of a name means.

use super::foreign::Foreign;
use super::mixed::Mixed;
use crate::model::quant::{Scheme, UnknownScheme};

/// Meaning of a suffix.
#[derive(Clone, Debug, PartialEq)]
pub enum SuffixKind {
    /// A scheme of MLX.
    Scheme(Scheme),
    /// Bits vary by layer, so that only the file headers tell the bytes; published files of the kind lie in a range.
    Mixed(Mixed),
    /// Bits vary by layer, and the name does not even say around what.
    HeadersOnly,
    /// A GGUF file: its type in llama.cpp's spelling (`Q4_K_M`, `UD-Q4_K_XL`), where it is named.
    Gguf(Option<String>),
    /// A format of other programs: originals packed by those that make them.
    Foreign(Foreign),
    /// MLX without bits (`-MLX`).
    Mlx,
    /// What is no model of its own: a prediction head, a draft model, an adapter.
    Part(&'static str),
    /// A format that only one program has.
    Only {
        /// Name of the format.
        format: &'static str,
        /// The program that loads it.
        program: &'static str,
    },
    /// It looks like a scheme but MLX has none of that name.
    Unknown(UnknownScheme),
}
