//! What decides whether one model may draft for another: tokenizers that are shared, and prediction heads.
//!
//! Facts are in `data/drafts.toml`, which is read strictly; files of a tokenizer are compared token by token.

mod heads;
mod tokenizer;
mod vocabulary;

pub use heads::{PredictionHeads, heads};
pub use tokenizer::{SharedTokenizer, TokenizerOf};
pub use vocabulary::{Vocabulary, VocabularyError};

use crate::hardware::provenance::Confidence;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use thiserror::Error;

const EMBEDDED: &str = include_str!("../../../data/drafts.toml");

/// A file of drafting facts that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("data/drafts.toml: {0}")]
pub struct DraftFactsError(String);

/// What is known of tokenizers and prediction heads.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftFacts {
    /// Version of the format of the file.
    pub schema: u32,
    /// Day of the knowledge, ISO.
    pub as_of: String,
    /// Tokenizers with the models that have them.
    #[serde(rename = "tokenizer")]
    pub tokenizers: Vec<Tokenizer>,
    /// Models whose checkpoints have prediction heads that their catalog entries do not show.
    pub heads: Vec<HeadsOf>,
    /// Models for which a drafter was made.
    #[serde(rename = "drafter")]
    pub drafters: Vec<DrafterOf>,
}

/// A tokenizer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokenizer {
    /// Its name here.
    pub name: String,
    /// Name of the tokens of text, which tokenizers with other special tokens may share.
    pub text: Option<String>,
    /// Repositories whose models have it.
    pub models: Vec<String>,
    /// Special tokens with their numbers.
    #[serde(default)]
    pub marks: BTreeMap<String, u32>,
    /// Where this comes from.
    pub source: String,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// Models with prediction heads.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadsOf {
    /// Repositories.
    pub models: Vec<String>,
    /// Heads, each of which predicts one more token.
    pub count: u32,
    /// Where this comes from.
    pub source: String,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// Models for which a drafter was made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrafterOf {
    /// Repositories.
    pub models: Vec<String>,
    /// The drafter, in words.
    pub name: String,
    /// Where this comes from.
    pub source: String,
    /// How far to trust it.
    pub confidence: Confidence,
}

impl DraftFacts {
    /// The built-in facts.
    ///
    /// # Errors
    /// When the file cannot be read, which a test rules out.
    pub fn embedded() -> Result<&'static Self, DraftFactsError> {
        static FACTS: LazyLock<Result<DraftFacts, DraftFactsError>> =
            LazyLock::new(|| toml::from_str(EMBEDDED).map_err(|e| DraftFactsError(e.to_string())));
        FACTS.as_ref().map_err(Clone::clone)
    }

    /// The tokenizer of a repository.
    #[must_use]
    pub fn tokenizer_of(&self, repo: &str) -> Option<&Tokenizer> {
        longest(&self.tokenizers, |t| &t.models, repo)
    }

    /// The drafter that was made for a repository's model.
    #[must_use]
    pub fn drafter_of(&self, repo: &str) -> Option<&DrafterOf> {
        longest(&self.drafters, |d| &d.models, repo)
    }
}

/// The entry with the longest pattern that a repository matches.
fn longest<'f, T>(all: &'f [T], models: impl Fn(&T) -> &[String], repo: &str) -> Option<&'f T> {
    let length = |entry: &T| models(entry).iter().filter_map(|m| matched(m, repo)).max();
    let with_length = all.iter().filter_map(|entry| Some((length(entry)?, entry)));
    with_length.max_by_key(|(length, _)| *length).map(|(_, entry)| entry)
}

/// Characters of a pattern that a repository matches, in any case; one more where it has no star.
fn matched(pattern: &str, repo: &str) -> Option<usize> {
    match pattern.strip_suffix('*') {
        Some(start) => {
            let head = repo.get(..start.len())?;
            head.eq_ignore_ascii_case(start).then_some(start.len())
        }
        None => repo.eq_ignore_ascii_case(pattern).then_some(pattern.len() + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::catalog::Models;

    #[test]
    fn every_pattern_names_a_model_of_the_catalog() {
        let facts = DraftFacts::embedded().unwrap();
        let models = Models::built_in().unwrap();
        let all = facts.tokenizers.iter().flat_map(|t| &t.models);
        for pattern in all.chain(facts.heads.iter().flat_map(|h| &h.models)) {
            let known = models.models().iter().any(|m| matched(pattern, &m.id).is_some());
            assert!(known, "{pattern} matches nothing");
        }
    }

    #[test]
    fn the_longest_pattern_counts() {
        let facts = DraftFacts::embedded().unwrap();
        let name = |repo: &str| facts.tokenizer_of(repo).map(|t| t.name.as_str());
        assert_eq!(name("Qwen/Qwen3-32B"), Some("qwen3"));
        assert_eq!(name("Qwen/Qwen3.5-27B"), Some("qwen3.5"));
        assert_eq!(name("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"), Some("deepseek-r1-qwen"));
        assert_eq!(name("microsoft/Phi-4-mini-instruct"), Some("phi-4-mini"));
        assert_eq!(name("microsoft/phi-4"), Some("phi-4"));
        assert_eq!(name("allenai/OLMo-2-0425-1B"), Some("olmo-2"));
        assert_eq!(name("nobody/unheard-of-1B"), None);
    }
}
