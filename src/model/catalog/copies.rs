//! `data/model_copies.csv`: repositories whose configuration is that of a model of the catalog.
//!
//! Fine-tunes and other repositories of the same network: the hub index states the same model type and exactly the
//! parameter count of the model they are read as. The file is read when a name is not in the catalog itself.

use crate::model::names::key;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::LazyLock;

const FILE: &str = include_str!("../../../data/model_copies.csv");

/// A repository with the configuration of a model of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ModelCopy {
    /// Its name on the hub.
    pub repo: String,
    /// Id of the model whose configuration it has.
    #[serde(rename = "as")]
    pub of: String,
    /// Parameters of its safetensors files, towers and prediction layers included.
    pub params: u64,
    /// The longest context that its own configuration states, in tokens; `None` where it is that of the model or
    /// not known.
    pub context: Option<u64>,
    /// Downloads of the last 30 days when the index was made.
    pub downloads: u64,
    /// Day on which the repository was created, ISO; empty = not known.
    pub released: String,
}

/// All copies. A test reads every line, so that none is left out here.
static COPIES: LazyLock<Vec<ModelCopy>> = LazyLock::new(|| {
    let mut reader = csv::Reader::from_reader(FILE.as_bytes());
    reader.deserialize().filter_map(Result::ok).collect()
});

/// Where a name leads: one copy, or several of unlike models.
static BY_NAME: LazyLock<HashMap<String, Option<&'static ModelCopy>>> = LazyLock::new(|| {
    let mut names: HashMap<String, Option<&'static ModelCopy>> = HashMap::new();
    for copy in COPIES.iter() {
        if let Some((_, short)) = copy.repo.rsplit_once('/') {
            names
                .entry(key(short))
                .and_modify(|other| *other = other.filter(|o| o.of == copy.of))
                .or_insert(Some(copy));
        }
    }
    for copy in COPIES.iter() {
        names.insert(key(&copy.repo), Some(copy));
    }
    names
});

/// The copy of that name, with or without its organization. A short name that repositories of unlike models share
/// finds none.
pub(super) fn find(name: &str) -> Option<&'static ModelCopy> {
    let full = BY_NAME.get(&key(name));
    let short = || BY_NAME.get(&key(name.rsplit_once('/')?.1));
    full.or_else(short).copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::{COPIES, FILE, find};
    use crate::model::catalog::Models;

    #[test]
    fn every_line_is_read_and_names_a_model_of_the_catalog() {
        assert_eq!(COPIES.len(), FILE.lines().count() - 1);
        let catalog = Models::built_in().unwrap();
        for copy in COPIES.iter() {
            assert!(catalog.get(&copy.of).is_some(), "{} as {}", copy.repo, copy.of);
            assert!(catalog.get(&copy.repo).is_none(), "{} is in the catalog", copy.repo);
            assert_eq!(find(&copy.repo).map(|found| &found.of), Some(&copy.of));
        }
    }

    #[test]
    fn a_short_name_leads_to_a_copy_unless_unlike_models_share_it() {
        assert_eq!(find("ornith-1.5-9b").unwrap().of, "Qwen/Qwen3.5-9B");
        assert_eq!(find("someone/Ornith_1.5_9B").unwrap().repo, "ornith-ai/Ornith-1.5-9B");
        assert_eq!(find("nobody/nothing"), None);
    }
}
