//! `data/hub_index.csv.gz`: what is known offline of repositories on the hub whose configuration is not known here.
//!
//! Facts of the index of the PyPI package llmfit 1.1.17 (MIT license; state of September to October 2026): type,
//! parameters, downloads, day of creation, and the repository that one derives from. The file is unpacked when a
//! repository is asked for that nothing else knows.

pub mod conversions;
pub mod coverage;
mod relative;

pub use relative::Relative;

use super::names::{has_key, key};
use flate2::read::GzDecoder;
use serde::Deserialize;
use std::fmt;
use std::io::Read;
use std::sync::LazyLock;

const FILE: &[u8] = include_bytes!("../../data/hub_index.csv.gz");
/// Most bytes that the file unpacks to.
const MOST: u64 = 4_000_000;

/// A repository of the index.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct IndexedRepo {
    /// Its name.
    pub repo: String,
    /// `model_type` of its configuration; empty where the index has none.
    pub model_type: String,
    /// Parameters by its safetensors headers, towers included; `None` where not known.
    pub params: Option<u64>,
    /// Downloads of the last 30 days when the index was made.
    pub downloads: Option<u64>,
    /// Day on which it was created, ISO; empty where not known.
    pub released: String,
    /// `mlx`, `awq`, `gptq` or `autoround`; empty for anything else.
    pub format: String,
    /// The repository that it derives from; empty where not known.
    pub base: String,
}

impl fmt::Display for IndexedRepo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut facts = Vec::new();
        if !self.model_type.is_empty() {
            facts.push(format!("model_type '{}'", self.model_type));
        }
        facts.extend(self.params.map(|n| format!("{:.2} billion parameters", n as f64 / 1e9)));
        if !self.format.is_empty() {
            facts.push(format!("format {}", self.format));
        }
        if !self.released.is_empty() {
            facts.push(format!("released {}", self.released));
        }
        if !self.base.is_empty() {
            facts.push(format!("derived from {}", self.base));
        }
        write!(f, "{}: {}", self.repo, facts.join(", "))
    }
}

static INDEX: LazyLock<Vec<IndexedRepo>> = LazyLock::new(|| {
    let mut reader = csv::Reader::from_reader(GzDecoder::new(FILE).take(MOST));
    reader.deserialize().filter_map(Result::ok).collect()
});

/// What the index says of a repository, whatever the case and separators of its name.
#[must_use]
pub fn find(repo: &str) -> Option<&'static IndexedRepo> {
    let wanted = key(repo);
    INDEX.iter().find(|row| has_key(&row.repo, &wanted))
}

/// The repository of that organization and name, where the index has it; else the most downloaded of that name that no
/// program packed.
#[must_use]
pub fn original(organization: Option<&str>, stem: &str) -> Option<&'static IndexedRepo> {
    let wanted = key(stem);
    let short =
        |row: &IndexedRepo| row.repo.rsplit_once('/').is_some_and(|(_, n)| has_key(n, &wanted));
    let of_that = organization.and_then(|o| find(&format!("{o}/{stem}")));
    of_that.or_else(|| {
        let same = INDEX.iter().filter(|row| row.format.is_empty() && short(row));
        same.max_by_key(|row| row.downloads)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_and_can_be_found() {
        let mut text = String::new();
        GzDecoder::new(FILE).read_to_string(&mut text).expect("unpacks");
        assert!((text.len() as u64) < MOST);
        assert_eq!(INDEX.len(), text.lines().count() - 1);
        let some = &INDEX[INDEX.len() / 2];
        assert_eq!(find(&some.repo.to_uppercase()).map(|r| &r.repo), Some(&some.repo));
        assert!(some.to_string().starts_with(&some.repo));
        assert_eq!(find("nobody/nothing"), None);
    }
}
