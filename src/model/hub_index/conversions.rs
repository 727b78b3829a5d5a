//! The repositories that hold a model in a format, as far as the index knows them: what a command can name.

use super::{INDEX, IndexedRepo};
use crate::model::Scheme;
use crate::model::names::{NameSpec, SuffixKind, key};
use std::collections::HashMap;
use std::sync::LazyLock;

/// A repository in one of MLX's plain formats.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// The repository.
    pub repo: &'static IndexedRepo,
    /// Its format.
    pub scheme: Scheme,
}

/// Words of names whose weights are not those of plain rounding, or of another model.
const OTHER: [&str; 12] =
    ["dwq", "awq", "gptq", "qat", "optiq", "oq4", "oq5", "oq6", "oq8", "ud", "fp16", "abliterated"];

/// The conversions by the model that they are of.
static BY_MODEL: LazyLock<HashMap<String, Vec<Conversion>>> = LazyLock::new(|| {
    let mut all: HashMap<String, Vec<Conversion>> = HashMap::new();
    for repo in INDEX.iter().filter(|r| r.format == "mlx" && !r.base.is_empty()) {
        if let Some(scheme) = plain_scheme(repo) {
            all.entry(key(&repo.base)).or_default().push(Conversion { repo, scheme });
        }
    }
    for of_model in all.values_mut() {
        of_model.sort_by_key(|c| std::cmp::Reverse(c.repo.downloads));
    }
    all
});

/// The format in the name of a conversion, which must be the name of what it derives from and nothing else.
fn plain_scheme(repo: &IndexedRepo) -> Option<Scheme> {
    let name = NameSpec::parse(&repo.repo);
    let suffix = name.suffix.as_ref()?;
    let SuffixKind::Scheme(scheme) = suffix.kind else { return None };
    let lower = repo.repo.to_lowercase();
    let other = lower.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| OTHER.contains(&w));
    let same = name.stem == NameSpec::parse(&repo.base).stem;
    (same && !other).then_some(scheme)
}

/// The most downloaded repository of every plain format of a model that the index knows.
#[must_use]
pub fn conversions(id: &str) -> Vec<Conversion> {
    let mut found: Vec<Conversion> = Vec::new();
    for conversion in BY_MODEL.get(&key(id)).into_iter().flatten() {
        if !found.iter().any(|known| known.scheme == conversion.scheme) {
            found.push(*conversion);
        }
    }
    found
}

/// The most downloaded repository of GGUF files of a model that the index knows.
#[must_use]
pub fn gguf_repository(id: &str) -> Option<&'static IndexedRepo> {
    let of = key(id);
    let files = |r: &&IndexedRepo| r.repo.to_lowercase().ends_with("-gguf") && key(&r.base) == of;
    INDEX.iter().filter(files).max_by_key(|r| r.downloads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_of_the_model_in_the_format_of_their_name() {
        let all = conversions("Qwen/Qwen3.8-27B");
        let four = all.iter().find(|c| c.scheme == Scheme::DEFAULT).expect("a 4-bit repository");
        assert_eq!(four.repo.repo, "lmstudio-community/Qwen3.8-27B-MLX-4bit");
        let mut formats: Vec<String> = all.iter().map(|c| c.scheme.suffix()).collect();
        let n = formats.len();
        formats.sort_unstable();
        formats.dedup();
        assert_eq!(formats.len(), n, "one of each: {formats:?}");
        for c in all {
            assert!(!c.repo.repo.to_lowercase().contains("oq"), "{}", c.repo.repo);
        }
        assert!(conversions("nobody/nothing").is_empty());
    }

    #[test]
    fn files_for_llama_cpp_are_known_where_the_index_has_them() {
        let repo = gguf_repository("Qwen/Qwen3-32B").expect("known");
        assert_eq!(repo.repo, "unsloth/Qwen3-32B-GGUF");
        assert!(gguf_repository("nobody/nothing").is_none());
    }
}
