//! Models on the Hugging Face hub: `config.json` and the headers of the weight files, without the weights.
//!
//! A header is the beginning of its file, so a range request of a few hundred kilobytes is enough; of servers
//! that ignore ranges no more is read than that, either. All files are read at the commit that the first answer
//! names, so that a model that changes meanwhile is not mixed up. What was read is kept ([`HubOptions::store`]) and
//! serves offline, or when the hub cannot be reached.

mod error;
mod gguf;
mod http;
mod options;
pub mod popular;
mod remote;
mod repo;
mod store;

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;

pub use error::HubError;
pub use options::{DEFAULT_ENDPOINT, HubOptions};
pub use repo::RepoRef;

use super::error::SourceError;
use super::layout::CONFIG_FILE;
use super::note::SourceNote;
use super::safetensors::StorageType;
use super::{ModelSource, Origin, WeightFormat};
use crate::model::config::Config;
use remote::Remote;

/// Longest header that is fetched, in bytes. Files of 5 GB have headers of 0.1 to 1 MB.
pub const MAX_REMOTE_HEADER_BYTES: u64 = 25_000_000;
/// With more files than this, only the index is read. The largest known models have about 200.
pub const MAX_REMOTE_SHARDS: usize = 300;
/// First piece of a file that is asked for; most headers fit into it.
const FIRST_PIECE: u64 = 256 * 1024;

/// How far reading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubProgress {
    /// Headers that have been read.
    pub done: usize,
    /// Headers in all.
    pub total: usize,
}

/// Reads a model's configuration and file headers from the hub. `progress` is called as headers arrive, from several
/// threads. Of a repository of GGUF files the one is read that its users get by default (Q4_K_M).
///
/// # Errors
/// When the run is offline and nothing was kept, the repository cannot be reached or read, or a file is wrong.
pub fn open(
    repo: &RepoRef,
    options: &HubOptions,
    progress: &(dyn Fn(HubProgress) + Sync),
) -> Result<ModelSource, SourceError> {
    open_file(repo, None, options, progress)
}

/// As [`open`]; of a repository of GGUF files the one of type `file_type` is read (`Q4_K_M`, `UD-Q4_K_XL`).
///
/// # Errors
/// As [`open`], and when there is no file of that type.
pub fn open_file(
    repo: &RepoRef,
    file_type: Option<&str>,
    options: &HubOptions,
    progress: &(dyn Fn(HubProgress) + Sync),
) -> Result<ModelSource, SourceError> {
    let mut remote = Remote::new(repo, options)?;
    let of_gguf = file_type.is_some() || repo.name().to_ascii_lowercase().contains("gguf");
    let config = if of_gguf { None } else { remote.config()? };
    let mut source = match config {
        Some(config) => safetensors(&remote, config, progress)?,
        None => gguf::open(&mut remote, file_type, progress)?,
    };
    source.notes.extend(remote.note());
    Ok(source)
}

/// Reads the configuration of a repository; `None` when it has none.
///
/// # Errors
/// As [`open`].
pub fn config(repo: &RepoRef, options: &HubOptions) -> Result<Option<Config>, SourceError> {
    Remote::new(repo, options)?.config()
}

/// The model of a repository with a configuration.
fn safetensors(
    remote: &Remote<'_>,
    config: Config,
    progress: &(dyn Fn(HubProgress) + Sync),
) -> Result<ModelSource, SourceError> {
    let bare = |files| {
        let origin =
            Origin::Hub { url: remote.address(), revision: remote.revision().to_owned(), files };
        ModelSource::bare(remote.id(), origin, config)
            .map_err(|error| SourceError::Config { file: remote.place(CONFIG_FILE), error })
    };
    let (names, index) = match remote.index()? {
        Some(index) => (index.files.clone(), Some(index)),
        None => (vec!["model.safetensors".to_owned()], None),
    };
    if names.len() > MAX_REMOTE_SHARDS {
        let mut source = bare(0)?;
        let total_bytes = index.and_then(|i| i.total_bytes);
        source.notes.push(SourceNote::IndexOnly { files: names.len(), total_bytes });
        return Ok(source);
    }
    let Some(tensors) = remote.headers(&names, index.as_ref(), progress)? else {
        let mut source = bare(0)?;
        source.notes.push(SourceNote::NoWeights);
        return Ok(source);
    };
    let packed = tensors
        .tensors()
        .iter()
        .any(|t| matches!(t.dtype, StorageType::U8 | StorageType::I8 | StorageType::F8_E4M3));
    let mut source = bare(names.len())?;
    // ModelOpt keeps its block in a file of its own, which matters only where something is packed.
    if packed && source.format == WeightFormat::Plain {
        source.beside = remote.beside()?;
    }
    source.with_tensors(tensors, &remote.place(""))
}
