//! Why a model name was not understood.

use crate::model::catalogue::ModelsError;
use crate::model::quant::{Scheme, UnknownScheme};
use crate::model::source::hub::HubError;
use std::path::PathBuf;
use thiserror::Error;

/// A model name that cannot be used. The text says what to type instead.
#[derive(Debug, Error)]
pub enum NameError {
    /// Nothing was given.
    #[error(
        "no model given; name one such as qwen3-32b-4bit, a folder, a .gguf file or hf:org/name"
    )]
    Empty,
    /// Too long to be a name.
    #[error("a model name of {0} bytes is too long")]
    TooLong(usize),
    /// A path that does not exist.
    #[error("there is no {}; give a model folder, a .gguf file, a config.json or a name such as qwen3-32b-4bit", .0.display())]
    NoSuchPath(PathBuf),
    /// A file of a kind that holds no model.
    #[error("{}: {problem}", path.display())]
    UnsuitablePath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it, and what to give instead.
        problem: String,
    },
    /// A repository name that the hub does not have.
    #[error(transparent)]
    Repository(#[from] HubError),
    /// No model of that name.
    #[error("no model is called '{}'{}", shortened(name), similar(candidates))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Ids of models with similar names, best first.
        candidates: Vec<String>,
    },
    /// The name is incomplete.
    #[error("'{name}' is no full model name; it fits {}", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Ids, most popular first.
        candidates: Vec<String>,
    },
    /// No model of that size.
    #[error(
        "no model of the size {class} is in the catalogue{}",
        list("; the nearest sizes: ", near)
    )]
    NoSuchClass {
        /// What was asked for.
        class: String,
        /// The nearest classes that have models.
        near: Vec<String>,
    },
    /// The name's suffix and the option contradict each other.
    #[error("the name says {suffix} but --quant says {option}; leave one of them out")]
    ConflictingQuant {
        /// Scheme of the suffix.
        suffix: Scheme,
        /// Scheme of the option.
        option: Scheme,
    },
    /// The suffix looks like a scheme, but MLX has no such one.
    #[error(transparent)]
    UnknownScheme(#[from] UnknownScheme),
    /// A quantisation of another program.
    #[error(
        "'{suffix}' of '{name}' is a quantisation of llama.cpp; give the .gguf file itself, or one of MLX such as 4bit"
    )]
    GgufSuffix {
        /// What was asked for.
        name: String,
        /// The suffix.
        suffix: String,
    },
    /// A format that MLX does not write.
    #[error(
        "'{suffix}' of '{name}' is no format that MLX writes; choose one such as 4bit, 8bit, mxfp4 or bf16"
    )]
    ForeignSuffix {
        /// What was asked for.
        name: String,
        /// The suffix.
        suffix: String,
    },
    /// Bits vary by layer, so that the name does not tell sizes.
    #[error(
        "'{suffix}' of '{name}' varies bits by layer, so only the files tell its size; \
         give its folder, or its repository as hf:org/name"
    )]
    HeadersNeeded {
        /// What was asked for.
        name: String,
        /// The suffix.
        suffix: String,
    },
    /// A catalogue file is wrong.
    #[error(transparent)]
    Catalogue(#[from] ModelsError),
}

/// Similar names, or where else to look.
fn similar(candidates: &[String]) -> String {
    match candidates {
        [] => "; `mlxplan models WORDS` searches the catalogue, hf:org/name asks the hub, and a folder, a .gguf file or a \
               config.json is read"
            .to_owned(),
        some => list(". Similar: ", some),
    }
}

/// A name as long as a message bears.
fn shortened(name: &str) -> String {
    const MOST: usize = 120;
    match name.char_indices().nth(MOST) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

fn list(front: &str, items: &[String]) -> String {
    match items {
        [] => String::new(),
        items => format!("{front}{}", items.join(", ")),
    }
}
