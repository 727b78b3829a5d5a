//! Counting tokens where an engine does not: with the tokenizer of the model, from a folder on this machine.

use super::generation::{CountSource, Counts, Generation, Prompt};
use crate::engine::text::{Text, TextError};
use crate::model::source::cache::Discovery;
use std::path::{Path, PathBuf};

const FILE: &str = "tokenizer.json";

/// A model's own tokenizer.
pub struct LocalTokenizer {
    text: Text,
    folder: PathBuf,
    /// Tokens that it puts around any text.
    around: u32,
}

impl std::fmt::Debug for LocalTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalTokenizer").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl LocalTokenizer {
    /// Reads the tokenizer of a model folder, or the one whose `tokenizer.json` is given.
    ///
    /// # Errors
    /// When there is none, or it is of an unknown kind.
    pub fn load(path: &Path) -> Result<Self, TextError> {
        let named = path.file_name().is_some_and(|name| name == FILE);
        let folder = if named { path.parent().unwrap_or(path) } else { path };
        let text = Text::load(folder)?;
        let around = count(&text.encode("")?);
        Ok(Self { text, folder: folder.to_owned(), around })
    }

    /// Where it was read from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tokens of a text that stands alone.
    fn of_text(&self, text: &str) -> Option<u32> {
        Some(count(&self.text.encode(text).ok()?).saturating_sub(self.around))
    }

    /// Tokens of a prompt with the chat template; only known for a single question.
    fn of_prompt(&self, prompt: &Prompt) -> Option<u32> {
        let [(_, message)] = prompt.messages.as_slice() else { return None };
        let text = self.text.prompt(message).ok()?;
        Some(count(&self.text.encode(&text).ok()?))
    }

    /// Counts the answer, and the prompt if nobody counted that either. A model that stops by itself ends with a token
    /// that has no text.
    pub fn complete(&self, prompt: &Prompt, generation: &mut Generation) {
        let Some(answer) = self.of_text(&generation.text) else { return };
        let end = u32::from(generation.finish_reason.as_deref() == Some("stop"));
        generation.counts = Counts {
            generated: Some(answer.saturating_add(end)),
            prompt: generation.counts.prompt.or_else(|| self.of_prompt(prompt)),
            source: Some(CountSource::LocalTokenizer),
            ..generation.counts
        };
    }
}

fn count(tokens: &[u32]) -> u32 {
    u32::try_from(tokens.len()).unwrap_or(u32::MAX)
}

/// The folder with the tokenizer of one of the models that are called so: a folder itself, or one in the caches of
/// this machine.
#[must_use]
pub fn find(names: &[&str], caches: &Discovery) -> Option<PathBuf> {
    let has = |folder: &Path| folder.join(FILE).is_file().then(|| folder.to_owned());
    let folder = |name: &&str| has(Path::new(name));
    let cached = |name: &&str| {
        let models = caches.find(name);
        models.iter().find_map(|m| has(&m.path).or_else(|| has(m.path.parent()?)))
    };
    names.iter().find_map(folder).or_else(|| names.iter().find_map(cached))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENIZER: &str = r#"{ "version": "1.0", "model": { "type": "WordLevel", "vocab":
        { "one": 0, "two": 1, "<s>": 2, "[UNK]": 3 }, "unk_token": "[UNK]" },
        "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": { "type": "TemplateProcessing", "single": [
            { "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } } ],
            "pair": [], "special_tokens": { "<s>": { "id": "<s>", "ids": [2], "tokens": ["<s>"] } } } }"#;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), TOKENIZER).unwrap();
        folder
    }

    #[test]
    fn answers_are_counted_without_and_prompts_with_what_stands_around() {
        let folder = folder();
        let tokenizer = LocalTokenizer::load(&folder.path().join(FILE)).unwrap();
        assert_eq!(tokenizer.folder(), folder.path());
        let generation = |reason: &str| Generation {
            text: "two two one".to_owned(),
            finish_reason: Some(reason.to_owned()),
            ..Generation::default()
        };
        let mut cut = generation("length");
        tokenizer.complete(&Prompt::user("one two", 8), &mut cut);
        assert_eq!((cut.counts.generated, cut.counts.prompt), (Some(3), Some(3)));
        assert_eq!(cut.counts.source, Some(CountSource::LocalTokenizer));
        let mut ended = generation("stop");
        ended.counts.prompt = Some(20);
        tokenizer.complete(&Prompt::user("one two", 8), &mut ended);
        assert_eq!((ended.counts.generated, ended.counts.prompt), (Some(4), Some(20)));
    }

    #[test]
    fn folders_are_found_by_path_and_missing_ones_named() {
        let folder = folder();
        let path = folder.path().to_str().unwrap();
        assert_eq!(find(&["nothing", path], &Discovery::default()).unwrap(), folder.path());
        assert_eq!(find(&["nothing"], &Discovery::default()), None);
        let empty = tempfile::tempdir().unwrap();
        let error = LocalTokenizer::load(empty.path()).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
    }
}
