//! The vocabulary of a tokenizer's files, for comparison with another's token by token.

use crate::files;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use thiserror::Error;

/// Longest `tokenizer.json` that is read, in bytes; those of today have up to 35 MB.
const LONGEST: u64 = 256 << 20;

/// The tokens of a tokenizer with their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    /// Tokens of text.
    pub text: HashMap<String, u32>,
    /// Special tokens.
    pub special: HashMap<String, u32>,
}

/// A `tokenizer.json` that cannot be read.
#[derive(Debug, Error)]
pub enum VocabularyError {
    /// It cannot be opened.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// It is no tokenizer.
    #[error("{path}: no tokenizer: {error}; compare the files by hand, or leave the draft out")]
    Json {
        /// The file.
        path: String,
        /// Why.
        error: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct File {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Model {
    /// Numbers by token, or pairs of token and score in the order of numbers.
    vocab: Value,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
}

impl Vocabulary {
    /// The vocabulary of `tokenizer.json` in a folder; `None` where there is no such file.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub fn in_folder(folder: &Path) -> Result<Option<Self>, VocabularyError> {
        let file = folder.join("tokenizer.json");
        if !file.exists() {
            return Ok(None);
        }
        let path = || file.display().to_string();
        let text = files::text(&file, LONGEST)
            .map_err(|error| VocabularyError::Io { path: path(), error })?;
        Self::parse(&text).map(Some).map_err(|error| VocabularyError::Json { path: path(), error })
    }

    /// The vocabulary of the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let file: File = serde_json::from_str(text)?;
        let special: HashMap<String, u32> =
            file.added_tokens.into_iter().map(|t| (t.content, t.id)).collect();
        let mut text = numbered(file.model.vocab)?;
        // Some files list special tokens among those of text as well.
        text.retain(|token, _| !special.contains_key(token));
        Ok(Self { text, special })
    }

    /// Whether a special token has this number.
    #[must_use]
    pub fn marks(&self, token: &str, number: u32) -> bool {
        self.special.get(token).or_else(|| self.text.get(token)) == Some(&number)
    }
}

fn numbered(vocab: Value) -> Result<HashMap<String, u32>, serde_json::Error> {
    if let Value::Array(pairs) = vocab {
        let pairs: Vec<(String, f64)> = serde_json::from_value(Value::Array(pairs))?;
        return Ok((0..).zip(pairs).map(|(number, (token, _))| (token, number)).collect());
    }
    serde_json::from_value(vocab)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_of_vocabularies_are_read() {
        let bpe = r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "<s>": 2}},
            "added_tokens": [{"id": 2, "content": "<s>", "special": true}]}"#;
        let unigram = r#"{"model": {"type": "Unigram", "vocab": [["a", -1.0], ["b", -2.5]]},
            "added_tokens": [{"id": 2, "content": "<s>"}]}"#;
        let (bpe, unigram) = (Vocabulary::parse(bpe).unwrap(), Vocabulary::parse(unigram).unwrap());
        assert_eq!(bpe, unigram);
        assert!(bpe.marks("<s>", 2) && !bpe.marks("<s>", 1) && !bpe.marks("</s>", 2));
    }

    #[test]
    fn what_is_no_tokenizer_is_refused() {
        for text in ["", "{}", r#"{"model": {}}"#, r#"{"model": {"vocab": {"a": "b"}}}"#] {
            assert!(Vocabulary::parse(text).is_err(), "{text}");
        }
    }
}
