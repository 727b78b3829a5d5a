//! What a user means by a model: names, size classes, files, repositories.
//!
//! [`parse_model_spec`] tells the kinds apart; [`resolve()`] finds a name in the catalog. The rules, in order:
//!
//! 1. an id or alias of the catalog, compared by [`key()`] (case and separators do not matter), with or without the
//!    organization; any organization is accepted, because conversions live under other ones;
//! 2. the same after taking off a quantization suffix (`-4bit`, `-mxfp4`, `-MLX-8bit`, …);
//! 3. a size class (`32B`, `30B-A3B`), which gives a list and never a single model;
//! 4. the same as 2 after taking off words that do not change the architecture (`-instruct`, `-it`, `-chat`, `-base`,
//!    `-hf`, `-preview`, dates such as `-2507`), or the active size of a mixture of experts; a note says what was read;
//! 5. otherwise an error, with the models that contain all words of the name, or the most similar names.

mod class;
mod error;
mod foreign;
mod gguf;
mod key;
mod kinds;
mod mixed;
mod note;
mod ollama;
mod resolve;
mod size;
mod spec;
mod suffix;
mod suffix_kind;

pub use class::{ClassMatch, ClassMember};
pub use error::NameError;
pub use foreign::{Foreign, foreign_word};
pub(crate) use key::has_key;
pub use key::{MAX_NAME_BYTES, key};
pub use kinds::{TextlessKind, kind_of_architecture, kind_of_type, not_a_language_model};
pub use mixed::Mixed;
pub use note::NameNote;
pub(crate) use ollama::tags_of;
pub use resolve::{Match, Resolution, Resolver, Stated, resolve};
pub use size::{SizeClass, SizeKind};
pub use spec::{ModelSpec, NameSpec, parse_model_spec};
pub use suffix::Suffix;
pub use suffix_kind::SuffixKind;

#[cfg(test)]
mod tests;
