//! `mlxplan update`: popular repositories of the hub that are not known here, kept as a catalog in the data folder.
//!
//! What has been read is written every few repositories into a file of its own, from which the next update goes on; the
//! catalog is replaced whole, and only when all was read.

use super::{EntryOrigin, Models};
use crate::data_dir::MAX_FILE_BYTES;
use crate::files;
use crate::graph::families;
use crate::model::config::Config;
use crate::model::names::key;
use crate::model::source::SourceError;
use crate::model::source::hub::popular::{ListedRepo, page};
use crate::model::source::hub::{self, HubOptions, RepoRef};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Name of the catalog that an update writes.
pub const REFRESHED_FILE: &str = "hub_models.json";
/// Name of the file from which an update goes on.
const UNFINISHED_FILE: &str = "hub_models.unfinished";
/// Repositories between two writings of the unfinished file.
const BETWEEN: usize = 10;
/// Longest entry of one repository, in bytes. Configurations have 1 to 20 kB.
const MAX_ENTRY_BYTES: usize = 100_000;
/// Most bytes of all entries, so that the catalog can be read as a data file.
const MAX_ENTRIES_BYTES: usize = (MAX_FILE_BYTES - MAX_FILE_BYTES / 16) as usize;
/// Longest unfinished file, in bytes: the entries, and what became of every repository.
const MAX_UNFINISHED_BYTES: u64 = 2 * MAX_FILE_BYTES;

/// Why an update did not end.
#[derive(Debug, Error)]
pub enum RefreshError {
    /// The hub cannot be reached, or answers wrongly.
    #[error(
        "{error}; {read} repositories were read and are kept: the next update goes on from there"
    )]
    Hub {
        /// What is wrong.
        error: SourceError,
        /// Repositories that had been read.
        read: usize,
    },
    /// The folder cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
}

/// A repository that was passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Its name.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// What an update did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// The catalog that was written.
    pub file: PathBuf,
    /// Repositories that were looked at.
    pub considered: usize,
    /// Models in the catalog that was written.
    pub added: usize,
    /// Repositories that were known already.
    pub known: usize,
    /// Those that were passed over.
    pub passed_over: Vec<PassedOver>,
    /// Whether it went on from an update that was not finished.
    pub resumed: bool,
}

/// What is kept between two attempts.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Unfinished {
    /// Repositories that are done with.
    done: BTreeSet<String>,
    /// How many of them were known already.
    known: usize,
    entries: Vec<Map<String, Value>>,
    /// Bytes of the entries.
    bytes: usize,
    passed_over: Vec<PassedOver>,
}

/// Reads the `limit` most downloaded repositories into the catalog file of `folder`. `models` says which are known;
/// `progress` is told how many of how many are done.
///
/// # Errors
/// When the hub cannot be reached or the folder cannot be written.
pub fn refresh(
    folder: &Path,
    limit: usize,
    (models, options): (&Models, &HubOptions),
    progress: &dyn Fn(usize, usize),
) -> Result<Refreshed, RefreshError> {
    let (file, unfinished) = (folder.join(REFRESHED_FILE), folder.join(UNFINISHED_FILE));
    std::fs::create_dir_all(folder)
        .map_err(|error| RefreshError::Write { path: folder.to_owned(), error })?;
    let mut state = Unfinished::read(&unfinished);
    let resumed = !state.done.is_empty();
    let (mut next, mut considered) = (None, 0);
    while considered < limit {
        let found = page(options, next.as_deref()).map_err(|error| {
            let _ = state.write(&unfinished);
            RefreshError::Hub { error: error.into(), read: state.done.len() }
        })?;
        next = found.next.filter(|_| !found.repos.is_empty());
        for repo in found.repos.into_iter().take(limit - considered) {
            considered += 1;
            if !state.done.contains(&repo.id) {
                let id = repo.id.clone();
                if let Err(error) = state.take(repo, models, options) {
                    state.write(&unfinished)?;
                    return Err(RefreshError::Hub { error, read: state.done.len() });
                }
                state.done.insert(id);
            }
            progress(considered, limit);
            if considered % BETWEEN == 0 {
                state.write(&unfinished)?;
            }
        }
        if next.is_none() {
            break;
        }
    }
    write(&file, &state.catalog())?;
    // One that stays is only read again.
    let _ = std::fs::remove_file(&unfinished);
    Ok(Refreshed {
        file,
        considered,
        added: state.entries.len(),
        known: state.known,
        passed_over: state.passed_over,
        resumed,
    })
}

impl Unfinished {
    /// What an earlier attempt left; nothing where that cannot be read.
    fn read(path: &Path) -> Self {
        let text = files::text(path, MAX_UNFINISHED_BYTES).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn write(&self, path: &Path) -> Result<(), RefreshError> {
        let text = serde_json::to_string(self).map_err(io::Error::other);
        text.map_err(|error| RefreshError::Write { path: path.to_owned(), error })
            .and_then(|text| write(path, &text))
    }

    /// The catalog of all entries, one on each line.
    fn catalog(&self) -> String {
        let lines: Vec<String> =
            self.entries.iter().map(|e| Value::Object(e.clone()).to_string()).collect();
        format!("{{\"models\":[\n{}\n]}}\n", lines.join(",\n"))
    }

    /// Reads one repository. An error is one of the hub as a whole.
    fn take(
        &mut self,
        repo: ListedRepo,
        models: &Models,
        options: &HubOptions,
    ) -> Result<(), SourceError> {
        if models.get(&repo.id).is_some_and(|m| m.origin() != EntryOrigin::Update) {
            self.known += 1;
            return Ok(());
        }
        let read = RepoRef::parse(&repo.id).map_err(SourceError::from);
        let entry = match read.and_then(|name| hub::config(&name, options)) {
            Err(SourceError::Hub(error)) if error.is_unreachable() => return Err(error.into()),
            Err(error) => Err(error.to_string()),
            Ok(None) => Err("it has no config.json".to_owned()),
            Ok(Some(config)) => self.entry(&repo, &config),
        };
        match entry {
            Ok((entry, bytes)) => {
                self.entries.push(entry);
                self.bytes += bytes;
            }
            Err(reason) => self.passed_over.push(PassedOver { id: repo.id, reason }),
        }
        Ok(())
    }

    /// The entry of a repository and its bytes, or why it gets none.
    fn entry(
        &self,
        repo: &ListedRepo,
        config: &Config,
    ) -> Result<(Map<String, Value>, usize), String> {
        let values = config.values();
        if ["quantization", "quantization_config"].iter().any(|key| values.contains_key(*key)) {
            return Err("it is quantized: its name says so".to_owned());
        }
        if !config.model_type().is_ok_and(|t| families::find(t).is_ok()) {
            let name = config.model_type().unwrap_or("none");
            return Err(format!("its model_type is not known: {name}"));
        }
        let id_of = |entry: &Map<String, Value>| Some(entry.get("id")?.as_str()?.to_owned());
        let spelling = key(&repo.id);
        let mut others = self.entries.iter().filter_map(id_of);
        if let Some(other) = others.find(|other| key(other) == spelling) {
            return Err(format!("its name is another spelling of {other}"));
        }
        let mut entry = Map::new();
        let mut set = |key: &str, value: Value| entry.insert(key.to_owned(), value);
        set("id", json!(repo.id));
        set("published_params", json!(repo.safetensors.as_ref().and_then(|s| s.total)));
        set("downloads", json!(repo.downloads));
        set("release_date", json!(repo.created.as_deref().and_then(|day| day.get(..10))));
        set("listed", json!(false));
        set("sources", json!(["its config.json on the hub, read by mlxplan update"]));
        set("config", json!(values));
        let bytes = serde_json::to_string(&entry).map_or(usize::MAX, |text| text.len());
        if bytes > MAX_ENTRY_BYTES {
            return Err("its configuration is too long".to_owned());
        }
        if self.bytes + bytes > MAX_ENTRIES_BYTES {
            return Err("the catalog is full".to_owned());
        }
        Ok((entry, bytes))
    }
}

fn write(path: &Path, text: &str) -> Result<(), RefreshError> {
    files::write(path, text.as_bytes())
        .map_err(|error| RefreshError::Write { path: path.to_owned(), error })
}
