//! `mlxplan update`: popular repositories of the hub that are not known here, kept as a catalogue in the data folder.
//!
//! What has been read is written every few repositories into a file of its own, from which the next update goes on; the
//! catalogue is replaced whole, and only when all was read.

use super::Models;
use crate::files;
use crate::graph::families;
use crate::model::source::SourceError;
use crate::model::source::hub::popular::{ListedRepo, page};
use crate::model::source::hub::{self, HubOptions, RepoRef};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Name of the catalogue that an update writes.
pub const REFRESHED_FILE: &str = "hub_models.json";
/// Name of the file from which an update goes on.
const UNFINISHED_FILE: &str = "hub_models.unfinished.json";
/// Repositories between two writings of the unfinished file.
const BETWEEN: usize = 10;
/// Longest unfinished file, and longest configuration of one repository, in bytes.
const MAX_BYTES: [u64; 2] = [16 << 20, 100_000];
/// Most reasons that are kept.
const MAX_REASONS: usize = 200;

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
    /// The catalogue that was written.
    pub file: PathBuf,
    /// Repositories that were looked at.
    pub considered: usize,
    /// Models in the catalogue that was written.
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
    known: usize,
    entries: Vec<Map<String, Value>>,
    passed_over: Vec<PassedOver>,
}

/// Reads the `limit` most downloaded repositories into the catalogue file of `folder`. `models` says which are known;
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
    let mut state = read(&unfinished);
    let resumed = !state.done.is_empty();
    let (mut next, mut considered) = (None, 0);
    loop {
        let found = page(options, next.as_deref()).map_err(|error| {
            let _ = write(&unfinished, &state);
            RefreshError::Hub { error: error.into(), read: state.done.len() }
        })?;
        for repo in found.repos.into_iter().take(limit - considered) {
            considered += 1;
            if state.done.insert(repo.id.clone()) {
                let id = repo.id.clone();
                if let Err(error) = state.take(repo, models, options) {
                    state.done.remove(&id);
                    write(&unfinished, &state)?;
                    return Err(RefreshError::Hub { error, read: state.done.len() });
                }
            }
            progress(considered, limit);
            if considered % BETWEEN == 0 {
                write(&unfinished, &state)?;
            }
        }
        next = found.next;
        if next.is_none() || considered >= limit {
            break;
        }
    }
    let catalogue = json!({ "models": state.entries });
    write(&file, &catalogue)?;
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
    /// Reads one repository. An error is one of the hub as a whole.
    fn take(
        &mut self,
        repo: ListedRepo,
        models: &Models,
        options: &HubOptions,
    ) -> Result<(), SourceError> {
        if models.get(&repo.id).is_some_and(|m| !m.is_refreshed()) {
            self.known += 1;
            return Ok(());
        }
        let read = RepoRef::parse(&repo.id).map_err(SourceError::from);
        let config = match read.and_then(|name| hub::config(&name, options)) {
            Ok(config) => config,
            Err(SourceError::Hub(error)) if error.is_unreachable() => return Err(error.into()),
            Err(error) => return self.pass_over(repo.id, error.to_string()),
        };
        let Some(config) = config else {
            return self.pass_over(repo.id, "it has no config.json".to_owned());
        };
        let values = config.values();
        let packed =
            ["quantization", "quantization_config"].iter().find(|key| values.contains_key(**key));
        let known_type = config.model_type().is_ok_and(|t| families::find(t).is_ok());
        let length = serde_json::to_string(values).map_or(u64::MAX, |text| text.len() as u64);
        match (packed, known_type) {
            (Some(_), _) => {
                return self.pass_over(repo.id, "it is quantized: its name says so".to_owned());
            }
            (None, false) => {
                let name = config.model_type().unwrap_or("none").to_owned();
                return self.pass_over(repo.id, format!("its model_type is not known: {name}"));
            }
            _ if length > MAX_BYTES[1] => {
                return self.pass_over(repo.id, "its configuration is too long".to_owned());
            }
            _ => {}
        }
        let entry = json!({
            "id": repo.id,
            "published_params": repo.safetensors.and_then(|s| s.total),
            "downloads": repo.downloads,
            "release_date": repo.created.as_deref().and_then(|day| day.get(..10)),
            "listed": false,
            "sources": ["its config.json on the hub, read by mlxplan update"],
            "config": values,
        });
        if let Value::Object(entry) = entry {
            self.entries.push(entry);
        }
        Ok(())
    }

    fn pass_over(&mut self, id: String, reason: String) -> Result<(), SourceError> {
        if self.passed_over.len() < MAX_REASONS {
            self.passed_over.push(PassedOver { id, reason });
        }
        Ok(())
    }
}

/// What an earlier attempt left; nothing where that cannot be read.
fn read(path: &Path) -> Unfinished {
    let text = files::text(path, MAX_BYTES[0]).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn write(path: &Path, content: &impl Serialize) -> Result<(), RefreshError> {
    let failed = |error| RefreshError::Write { path: path.to_owned(), error };
    let text = serde_json::to_vec_pretty(content).map_err(|e| failed(io::Error::other(e)))?;
    files::write(path, &text).map_err(failed)
}
