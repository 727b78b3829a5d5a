//! Why a model name was not understood.

use crate::model::catalog::ModelsError;
use crate::model::quant::{Scheme, UnknownScheme};
use crate::model::source::hub::HubError;
use std::path::PathBuf;
use thiserror::Error;

/// Most candidates that an error lists.
pub(super) const MAX_CANDIDATES: usize = 5;

/// A model name that cannot be used. The text says what to type instead.
#[derive(Debug, Error)]
pub enum NameError {
    /// Nothing was given.
    #[error(
        "no model given; name one such as qwen3-32b-4bit, a folder, a .gguf file or hf:org/name"
    )]
    Empty,
    /// Too long to be a name.
    #[error(
        "a model name of {0} bytes is too long; write one such as qwen3-32b-4bit, a folder, a .gguf file or hf:org/name"
    )]
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
    #[error("no model is called '{}'{}{}", shortened(name), similar(candidates), on_the_hub(name))]
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
        "no model of the size {class} is in the catalog{}",
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
    /// A part of a model, or something to be put on one.
    #[error(
        "'{name}' is {what}, not a model of its own; name the model, or give this one as --draft where it drafts"
    )]
    Part {
        /// What was asked for.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// A format that one program alone loads.
    #[error(
        "'{name}' is in {format}, a format that only {program} loads and whose bytes only the files tell; name an MLX \
         conversion such as {stem}-4bit"
    )]
    OnlyOneProgram {
        /// What was asked for.
        name: String,
        /// The name without its suffix.
        stem: String,
        /// The format.
        format: &'static str,
        /// The program.
        program: &'static str,
    },
    /// No language model.
    #[error(
        "'{name}' is {what}, not a language model: mlx-lm and llama.cpp generate no text with it, and mlxplan plans \
         for language models only"
    )]
    NotALanguageModel {
        /// What was asked for.
        name: String,
        /// What it is.
        what: &'static str,
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
    /// A catalog file is wrong.
    #[error(transparent)]
    Catalog(#[from] ModelsError),
}

/// How a repository that is not known here is read.
fn on_the_hub(name: &str) -> String {
    let is_repository = name.split_once('/').is_some_and(|(organization, rest)| {
        !organization.is_empty() && !rest.is_empty() && !rest.contains(['/', ':', ' '])
    });
    if is_repository {
        format!("; hf:{name} reads the repository on the hub")
    } else {
        String::new()
    }
}

/// Similar names, or where else to look.
fn similar(candidates: &[String]) -> String {
    match candidates {
        [] => "; `mlxplan models WORDS` searches the catalog, hf:org/name asks the hub, and a folder, a .gguf file or a \
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
