//! Names of Ollama's library that do not follow from the model's own name.

use super::key::has_key;

/// `data/ollama_library.csv`: library name and tag, and the model. From the pages of the library; sizes in tags are
/// rounded.
const LIBRARY: &str = include_str!("../../../data/ollama_library.csv");

/// The tags with their models.
fn library() -> impl Iterator<Item = (&'static str, &'static str)> {
    LIBRARY.lines().skip(1).filter_map(|line| line.split_once(','))
}

/// The name and tag of Ollama's library that a text is: `gemma3:27b`, `library/gemma3:27b`.
pub(super) fn tag(text: &str) -> Option<&str> {
    let text = ["ollama.com/library/", "registry.ollama.ai/library/", "library/"]
        .iter()
        .find_map(|front| text.strip_prefix(front))
        .unwrap_or(text);
    let (name, tag) = text.split_once(':')?;
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    (plain(name) && plain(tag)).then_some(text)
}

/// The model of a tag without its format (`deepseek-r1:32b`), where the name does not say it.
pub(super) fn model(stem: &str) -> Option<&'static str> {
    let wanted = super::key(stem);
    library().find(|(tag, _)| has_key(tag, &wanted)).map(|(_, id)| id)
}

/// The tags of a model in the library.
pub(crate) fn tags_of(id: &str) -> impl Iterator<Item = &'static str> {
    library().filter(move |(_, model)| *model == id).map(|(tag, _)| tag)
}

/// A name without a tag as Ollama reads it: `llama3.2` is `llama3.2:latest`, where the library has that.
pub(super) fn with_tag(text: &str) -> Option<&'static str> {
    let latest = format!("{text}:latest");
    library().find(|(tag, _)| tag.eq_ignore_ascii_case(&latest)).map(|(tag, _)| tag)
}

#[cfg(test)]
mod tests {
    use super::{library, with_tag};
    use crate::model::catalog::Models;

    #[test]
    fn every_tag_leads_to_a_model_that_is_known() {
        let models = Models::built_in().expect("built in");
        for (tag, id) in library() {
            assert!(models.get(id).is_some() || models.copy(id).is_some(), "{tag}: {id}");
        }
        assert_eq!(with_tag("llama3.2"), Some("llama3.2:latest"));
        assert_eq!(with_tag("Qwen/Qwen3-8B"), None);
    }
}
