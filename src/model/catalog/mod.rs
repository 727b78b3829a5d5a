//! The model catalog: `data/models.json`, built into the program, and `models.json` files of the user.
//!
//! The built-in file has one model per line. Loading reads only what names and popularity need; a model's
//! configuration is parsed when it is asked for.

mod copies;
mod entry;
mod file;
mod refresh;

pub use copies::ModelCopy;
pub use entry::{EntryConfidence, ModelEntry};
pub use refresh::{PassedOver, REFRESHED_FILE, RefreshError, Refreshed, refresh};

use crate::data_dir::{DataDirError, DataDirs};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use thiserror::Error;

/// Name of a user's catalog file.
pub const FILE_NAME: &str = "models.json";

static BUILT_IN: &str = include_str!("../../../data/models.json");

/// A problem with a catalog file. The text names file, line and key.
#[derive(Debug, Error)]
pub enum ModelsError {
    /// A file of the user cannot be read.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The file is no JSON.
    #[error("{place}: {problem}")]
    Json {
        /// File and line.
        place: CatalogLine,
        /// What the parser says.
        problem: String,
    },
    /// A key of an entry is absent or wrong.
    #[error("{place}: key '{key}' {problem}")]
    Key {
        /// File and line.
        place: CatalogLine,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A line of a catalog file. Displays as `models.json line 7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogLine {
    /// The file; `None` for the built-in catalog.
    pub file: Option<Arc<Path>>,
    /// Line, from 1.
    pub line: usize,
}

impl fmt::Display for CatalogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(path) => write!(f, "{} line {}", path.display(), self.line),
            None => write!(f, "built-in models.json line {}", self.line),
        }
    }
}

/// What the index knows of a model without parsing its configuration.
#[derive(Clone)]
pub struct Summary {
    /// Hugging Face repository of the original checkpoint.
    pub id: String,
    /// Name to show.
    pub name: String,
    /// `model_type` of the configuration.
    pub model_type: String,
    /// Further names that the command line accepts.
    pub aliases: Vec<String>,
    /// Whether mlx-lm implements the `model_type`. A user's entry that does not say so counts as supported.
    pub mlx_lm_supported: bool,
    /// Parameters of the published safetensors, which may include parts that mlx-lm drops.
    pub published_params: Option<u64>,
    /// Parameters active per token, as the model's name states them.
    pub active_params: Option<u64>,
    /// Downloads from Hugging Face, a measure of popularity.
    pub downloads: Option<u64>,
    /// Whether lists offer it (a size class, recommendations); otherwise it is found by its name only.
    pub listed: bool,
    /// Where the entry stands.
    pub place: CatalogLine,
    text: Cow<'static, str>,
}

impl fmt::Debug for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Summary({} at {})", self.id, self.place)
    }
}

impl Summary {
    /// Parses the whole entry.
    ///
    /// # Errors
    /// When a key is absent or wrong; the text names it.
    pub fn entry(&self) -> Result<ModelEntry, ModelsError> {
        ModelEntry::parse(&self.text, &self.place)
    }

    /// The name without organization.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.id.rsplit_once('/').map_or(self.id.as_str(), |(_, name)| name)
    }

    /// Who wrote the entry.
    #[must_use]
    pub fn origin(&self) -> EntryOrigin {
        match self.place.file.as_deref() {
            None => EntryOrigin::BuiltIn,
            Some(file) if file.file_name().is_some_and(|name| name == REFRESHED_FILE) => {
                EntryOrigin::Update
            }
            Some(_) => EntryOrigin::User,
        }
    }
}

/// Who wrote an entry. Of two with the same id or name the later of these counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryOrigin {
    /// `mlxplan update`, which read it from the hub.
    Update,
    /// This program.
    BuiltIn,
    /// The user, in a data folder.
    User,
}

/// All models, sorted by id without regard to case.
#[derive(Clone, Debug)]
pub struct Models {
    models: Vec<Summary>,
}

/// The part of a built-in line that the index needs.
#[derive(Deserialize)]
struct Row {
    id: String,
    name: String,
    model_type: String,
    aliases: Vec<String>,
    mlx_lm_supported: bool,
    published_params: Option<u64>,
    active_params: Option<u64>,
    downloads: Option<u64>,
    #[serde(default = "yes")]
    listed: bool,
}

const fn yes() -> bool {
    true
}

impl Row {
    /// Reads what stands before the configuration, which is most of the line.
    fn of(text: &str) -> Result<Self, serde_json::Error> {
        match text.split_once(r#","config":"#) {
            Some((head, _)) => serde_json::from_str(&format!("{head}}}")),
            None => serde_json::from_str(text),
        }
    }
}

impl Models {
    /// The built-in catalog alone.
    ///
    /// # Errors
    /// Never for the file that was built in; a test parses all of it.
    pub fn built_in() -> Result<Self, ModelsError> {
        let lines = BUILT_IN.lines().enumerate();
        let models = lines
            .filter(|(_, line)| line.starts_with("{\"id\":"))
            .map(|(at, line)| {
                let text = line.strip_suffix(',').unwrap_or(line);
                let place = CatalogLine { file: None, line: at + 1 };
                let row = Row::of(text).map_err(|e| ModelsError::Json {
                    place: place.clone(),
                    problem: e.to_string(),
                })?;
                Ok(Summary {
                    id: row.id,
                    name: row.name,
                    model_type: row.model_type,
                    aliases: row.aliases,
                    mlx_lm_supported: row.mlx_lm_supported,
                    published_params: row.published_params,
                    active_params: row.active_params,
                    downloads: row.downloads,
                    listed: row.listed,
                    place,
                    text: Cow::Borrowed(text),
                })
            })
            .collect::<Result<Vec<_>, ModelsError>>()?;
        Ok(Self { models })
    }

    /// The built-in catalog with the `models.json` of each data folder that has one, and with what `mlxplan update`
    /// wrote there. Of entries with the same id one counts by its [`EntryOrigin`]; folders win over each other as
    /// [`DataDirs`] says.
    ///
    /// # Errors
    /// When a file cannot be read or has a wrong entry. All entries of the user are checked at once.
    pub fn load(folders: &DataDirs) -> Result<Self, ModelsError> {
        let mut catalog = Self::built_in()?;
        for name in [REFRESHED_FILE, FILE_NAME] {
            for file in folders.read(name)? {
                catalog.add(file::parse(&file)?);
            }
        }
        Ok(catalog)
    }

    /// Adds models, each in the place of the one with the same id unless that has a stronger origin.
    fn add(&mut self, models: Vec<Summary>) {
        let positions: HashMap<String, usize> =
            self.models.iter().enumerate().map(|(i, m)| (m.id.clone(), i)).collect();
        let mut added = Vec::new();
        for model in models {
            match positions.get(&model.id).and_then(|&i| self.models.get_mut(i)) {
                Some(slot) if model.origin() < slot.origin() => {}
                Some(slot) => *slot = model,
                None => added.push(model),
            }
        }
        if added.is_empty() {
            return;
        }
        // Of names that differ in case only, the last one added stands first.
        added.reverse();
        added.append(&mut self.models);
        added.sort_by_cached_key(|m| m.id.to_lowercase());
        self.models = added;
    }

    /// The models that lists offer and mlx-lm implements, sorted like [`Self::models`].
    pub fn offered(&self) -> impl Iterator<Item = &Summary> {
        self.models.iter().filter(|m| m.listed && m.mlx_lm_supported)
    }

    /// The same, the most downloaded first.
    #[must_use]
    pub fn popular(&self) -> Vec<&Summary> {
        let mut popular: Vec<&Summary> = self.offered().collect();
        popular.sort_by_key(|m| std::cmp::Reverse(m.downloads.unwrap_or(0)));
        popular
    }

    /// The repository called `name` that shares the configuration of a built-in model, with that model.
    #[must_use]
    pub fn copy(&self, name: &str) -> Option<(&'static ModelCopy, &Summary)> {
        let copy = copies::find(name)?;
        Some((copy, self.get(&copy.of)?))
    }

    /// All models, sorted by id without regard to case.
    #[must_use]
    pub fn models(&self) -> &[Summary] {
        &self.models
    }

    /// The model with exactly that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Summary> {
        self.models.iter().find(|m| m.id == id)
    }
}

#[cfg(test)]
mod tests;
