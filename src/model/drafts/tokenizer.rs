//! Which tokenizer a model has, and whether two models share it.

use super::{DraftFacts, Tokenizer, Vocabulary, VocabularyError};
use crate::model::source::{ModelSource, Origin};
use schemars::JsonSchema;
use serde::Serialize;

/// The tokenizer of a model, as far as it is known.
#[derive(Clone, Debug)]
pub struct TokenizerOf {
    known: Option<&'static Tokenizer>,
    files: Option<Vocabulary>,
}

/// Whether two models count tokens alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedTokenizer {
    /// Every token is the same.
    Same,
    /// Every token of text is the same; special tokens differ, and such drafts are never accepted.
    SameText,
    /// They differ.
    Different,
    /// That of one of them is not known.
    Unknown,
}

impl TokenizerOf {
    /// The tokenizer of a model: of the files beside it, else of what is known of its repository.
    ///
    /// # Errors
    /// When there are files that cannot be read.
    pub fn of(source: &ModelSource) -> Result<Self, VocabularyError> {
        let files = match &source.origin {
            Origin::Folder { path, .. } => Vocabulary::in_folder(path)?,
            _ => None,
        };
        let facts = DraftFacts::embedded().ok();
        let known = facts.and_then(|facts| match (&source.origin, &files) {
            (_, Some(files)) => {
                facts.tokenizers.iter().filter(|t| t.marked(files)).max_by_key(|t| t.marks.len())
            }
            (Origin::Catalog { id, .. }, None) => facts.tokenizer_of(id),
            (_, None) => facts.tokenizer_of(&source.name),
        });
        Ok(Self { known, files })
    }

    /// The tokenizer of a repository, by what is known of it.
    #[must_use]
    pub fn of_repository(repo: &str) -> Self {
        let facts = DraftFacts::embedded().ok();
        Self { known: facts.and_then(|facts| facts.tokenizer_of(repo)), files: None }
    }

    /// Its name, where it is known.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        self.known.map(|t| t.name.as_str())
    }

    /// Whether a draft with the other tokenizer counts tokens alike. Files decide where both have them.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> SharedTokenizer {
        if let (Some(own), Some(other)) = (&self.files, &other.files) {
            return match own.text == other.text {
                true if own.special == other.special => SharedTokenizer::Same,
                true => SharedTokenizer::SameText,
                false => SharedTokenizer::Different,
            };
        }
        match (self.known, other.known) {
            (Some(own), Some(other)) if own.name == other.name => SharedTokenizer::Same,
            (Some(own), Some(other)) if own.text.is_some() && own.text == other.text => {
                SharedTokenizer::SameText
            }
            (Some(_), Some(_)) => SharedTokenizer::Different,
            _ => SharedTokenizer::Unknown,
        }
    }
}

impl Tokenizer {
    /// Whether files have all its special tokens at their numbers.
    fn marked(&self, files: &Vocabulary) -> bool {
        !self.marks.is_empty() && self.marks.iter().all(|(token, n)| files.marks(token, *n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_files(text: &[(&str, u32)], special: &[(&str, u32)]) -> TokenizerOf {
        let map = |all: &[(&str, u32)]| all.iter().map(|(t, n)| ((*t).to_owned(), *n)).collect();
        let files = Vocabulary { text: map(text), special: map(special) };
        let facts = DraftFacts::embedded().unwrap();
        let known = facts.tokenizers.iter().filter(|t| t.marked(&files));
        TokenizerOf { known: known.max_by_key(|t| t.marks.len()), files: Some(files) }
    }

    #[test]
    fn repositories_share_what_is_known_of_them() {
        let shared = |a: &str, b: &str| {
            TokenizerOf::of_repository(a).shared_with(&TokenizerOf::of_repository(b))
        };
        // 151936 and 152064 rows, one tokenizer.
        assert_eq!(
            shared("Qwen/Qwen2.5-72B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct"),
            SharedTokenizer::Same
        );
        assert_eq!(
            shared("Qwen/Qwen3-32B", "Qwen/Qwen2.5-0.5B-Instruct"),
            SharedTokenizer::SameText
        );
        // 100352 rows both.
        assert_eq!(
            shared("microsoft/phi-4", "ibm-granite/granite-4.1-3b"),
            SharedTokenizer::Different
        );
        assert_eq!(shared("microsoft/phi-4", "allenai/OLMo-2-0425-1B"), SharedTokenizer::Different);
        assert_eq!(shared("microsoft/phi-4", "nobody/unheard-of-1B"), SharedTokenizer::Unknown);
    }

    #[test]
    fn files_are_compared_token_by_token() {
        let qwen = [("<|endoftext|>", 151_643), ("<|im_start|>", 151_644), ("<|im_end|>", 151_645)];
        let a = of_files(&[("a", 0), ("b", 1)], &qwen);
        let b = of_files(&[("b", 0), ("a", 1)], &qwen);
        let c = of_files(&[("a", 0), ("b", 1)], &qwen[..2]);
        assert_eq!(a.name(), Some("qwen2.5"));
        assert_eq!(c.name(), None);
        assert_eq!(a.shared_with(&a.clone()), SharedTokenizer::Same);
        assert_eq!(a.shared_with(&b), SharedTokenizer::Different);
        assert_eq!(a.shared_with(&c), SharedTokenizer::SameText);
        // A folder beside a name: recognized by its special tokens.
        assert_eq!(
            a.shared_with(&TokenizerOf::of_repository("Qwen/Qwen2.5-0.5B-Instruct")),
            SharedTokenizer::Same
        );
        assert_eq!(
            c.shared_with(&TokenizerOf::of_repository("Qwen/Qwen2.5-0.5B-Instruct")),
            SharedTokenizer::Unknown
        );
    }
}
