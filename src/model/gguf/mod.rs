//! The formats of llama.cpp: types of tensors and of files, the names people give them, and the rules by which
//! `llama-quantize` chooses a type for every tensor.

mod file_type;
mod mix;
mod rules;
mod types;

pub use file_type::{FileType, file_type_name};
pub use mix::{GgufMix, MixRecipe, Publisher, UnknownMix};
pub use rules::{Category, Chooser, Matrix, MixFacts};
pub use types::GgmlType;
