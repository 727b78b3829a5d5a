//! Models on the Hugging Face hub: `config.json` and the headers of the safetensors files, without the weights.
//!
//! A header is the beginning of its file, so a range request of a few hundred kilobytes is enough; of servers
//! that ignore ranges no more is read than that, either. All files are read at the commit that the first answer
//! names, so that a model that changes meanwhile is not mixed up.

mod error;
mod http;
mod options;
mod repo;

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;

pub use error::HubError;
pub use options::{DEFAULT_ENDPOINT, HubOptions};
pub use repo::RepoRef;

use super::error::SourceError;
use super::layout::{CONFIG_FILE, INDEX_FILE};
use super::note::SourceNote;
use super::safetensors::{Header, HeaderError, header_length, parse_header};
use super::shards::{ShardIndex, assemble, parse_shard_index};
use super::tensors::{TensorFile, TensorIndex};
use super::{MAX_CONFIG_BYTES, ModelSource, Origin};
use crate::http::shown;
use crate::model::config::Config;
use http::{Http, HubAnswer};
use reqwest::StatusCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Longest header that is fetched, in bytes. Files of 5 GB have headers of 0.1 to 1 MB.
pub const MAX_REMOTE_HEADER_BYTES: u64 = 25_000_000;
/// With more files than this, only the index is read. The largest known models have about 200.
pub const MAX_REMOTE_SHARDS: usize = 300;
/// Headers that are fetched at the same time.
const PARALLEL: usize = 4;
/// Longest index that is fetched, in bytes. That of a model with 100 000 tensors has 10 MB.
const MAX_REMOTE_INDEX_BYTES: u64 = 100_000_000;
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
/// threads.
///
/// # Errors
/// When the run is offline, the repository cannot be reached or read, or a file is wrong.
pub fn open(
    repo: &RepoRef,
    options: &HubOptions,
    progress: &(dyn Fn(HubProgress) + Sync),
) -> Result<ModelSource, SourceError> {
    if options.offline {
        return Err(HubError::Offline(repo.to_string()).into());
    }
    let mut remote = Remote {
        http: Http::new(options)?,
        repo,
        revision: repo.revision().to_owned(),
        token: options.token.is_some(),
    };
    let config = remote.config()?;
    let url = shown(remote.http.url(&[repo.organisation(), repo.name()]).as_str());
    let origin = |files| Origin::Hub { url: url.clone(), revision: remote.revision.clone(), files };
    let source = |files| {
        ModelSource::bare(repo.id(), origin(files), config)
            .map_err(|error| SourceError::Config { file: remote.place(CONFIG_FILE), error })
    };
    let (names, index) = match remote.index()? {
        Some(index) => (index.files.clone(), Some(index)),
        None => (vec!["model.safetensors".to_owned()], None),
    };
    if names.len() > MAX_REMOTE_SHARDS {
        let mut source = source(0)?;
        let total_bytes = index.and_then(|i| i.total_bytes);
        source.notes.push(SourceNote::IndexOnly { files: names.len(), total_bytes });
        return Ok(source);
    }
    match remote.headers(&names, index.as_ref(), progress)? {
        Some(tensors) => source(names.len())?.with_tensors(tensors, &remote.place("")),
        None => {
            let mut source = source(0)?;
            source.notes.push(SourceNote::NoWeights);
            Ok(source)
        }
    }
}

/// One repository at one revision.
struct Remote<'a> {
    http: Http,
    repo: &'a RepoRef,
    revision: String,
    token: bool,
}

impl Remote<'_> {
    /// A file's name for error messages.
    fn place(&self, file: &str) -> String {
        match file {
            "" => format!("hf:{}", self.repo.id()),
            file => format!("hf:{} {file}", self.repo.id()),
        }
    }

    /// Requests a file; `None` when the repository does not have it.
    fn get(&self, file: &str, range: Option<(u64, u64)>) -> Result<Option<HubAnswer>, HubError> {
        let repo = self.repo;
        let segments = [repo.organisation(), repo.name(), "resolve", &self.revision, file];
        let answer = self.http.get(&self.http.url(&segments), range, &self.place(file))?;
        let id = repo.id();
        match (answer.status, answer.error_code.as_deref()) {
            (StatusCode::OK | StatusCode::PARTIAL_CONTENT, _) => Ok(Some(answer)),
            (StatusCode::NOT_FOUND, Some("RevisionNotFound")) => {
                Err(HubError::NoRevision { repo: id, revision: self.revision.clone() })
            }
            (_, Some("GatedRepo")) => Err(HubError::Gated(id)),
            (_, Some("RepoNotFound")) | (StatusCode::UNAUTHORIZED, _) => {
                Err(HubError::NoAccess { repo: id, token: self.token })
            }
            (StatusCode::FORBIDDEN, _) => Err(HubError::Gated(id)),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, _) => Err(HubError::Status {
                host: self.http.host(),
                status: status.as_u16(),
                what: self.place(file),
            }),
        }
    }

    /// Reads the configuration and pins the commit.
    fn config(&mut self) -> Result<Config, SourceError> {
        let Some(answer) = self.get(CONFIG_FILE, None)? else {
            return Err(HubError::NoFile {
                repo: self.repo.id(),
                revision: self.revision.clone(),
                file: CONFIG_FILE.to_owned(),
                hint: "; check the spelling. A repository of GGUF files has none: download the file and name it",
            }
            .into());
        };
        let commit = answer.commit.clone();
        let text = utf8(answer, MAX_CONFIG_BYTES)?;
        self.revision = commit.unwrap_or_else(|| self.revision.clone());
        Config::parse(&text)
            .map_err(|error| SourceError::Config { file: self.place(CONFIG_FILE), error })
    }

    /// Reads the list of shards, if there is one.
    fn index(&self) -> Result<Option<ShardIndex>, SourceError> {
        let Some(answer) = self.get(INDEX_FILE, None)? else {
            return Ok(None);
        };
        let text = utf8(answer, MAX_REMOTE_INDEX_BYTES)?;
        let index = parse_shard_index(&text);
        index
            .map(Some)
            .map_err(|problem| SourceError::ShardIndex { file: self.place(INDEX_FILE), problem })
    }

    /// Reads the headers of all files; `None` when there is no list of shards and no single file either.
    fn headers(
        &self,
        names: &[String],
        index: Option<&ShardIndex>,
        progress: &(dyn Fn(HubProgress) + Sync),
    ) -> Result<Option<TensorIndex>, SourceError> {
        let next = AtomicUsize::new(0);
        let done = AtomicUsize::new(0);
        type Outcome = Result<Option<(TensorFile, Header)>, SourceError>;
        let results: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::new());
        let total = names.len();
        progress(HubProgress { done: 0, total });
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(total) {
                scope.spawn(|| {
                    while let Some((at, name)) = {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        names.get(at).map(|name| (at, name))
                    } {
                        let outcome = self.header(name);
                        if outcome.is_err() {
                            // The others stop at their next turn.
                            next.fetch_max(total, Ordering::Relaxed);
                        }
                        results.lock().unwrap_or_else(|e| e.into_inner()).push((at, outcome));
                        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                        progress(HubProgress { done, total });
                    }
                });
            }
        });
        let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
        results.sort_by_key(|(at, _)| *at);
        let mut headers = Vec::new();
        for (at, outcome) in results {
            match outcome? {
                Some(header) => headers.push(header),
                None if index.is_none() => return Ok(None),
                None => {
                    let shard = names.get(at).cloned().unwrap_or_default();
                    return Err(SourceError::MissingShard { place: self.place(""), shard });
                }
            }
        }
        assemble(&self.place(""), headers, index).map(Some)
    }

    /// Reads the header of one file; `None` when there is no such file.
    fn header(&self, name: &str) -> Result<Option<(TensorFile, Header)>, SourceError> {
        let fail = |error| SourceError::Header { file: self.place(name), error };
        let mut bytes = Vec::new();
        let Some(mut piece) = self.range(name, 0, FIRST_PIECE - 1)? else {
            return Ok(None);
        };
        piece.read_into(&mut bytes, 8)?;
        let Some(first) = bytes.first_chunk::<8>() else {
            return Err(fail(HeaderError::Truncated { expected: 8, actual: bytes.len() as u64 }));
        };
        let length = header_length(*first, piece.total).map_err(fail)?;
        if length > MAX_REMOTE_HEADER_BYTES {
            let what = format!("the header of {}", self.place(name));
            return Err(HubError::TooLong { what, limit: MAX_REMOTE_HEADER_BYTES }.into());
        }
        let end = length + 8;
        piece.read_into(&mut bytes, end)?;
        if (bytes.len() as u64) < end && piece.is_range {
            let total = piece.total;
            let have = bytes.len() as u64;
            if let Some(mut rest) = self.range(name, have, end - 1)? {
                if rest.total.is_some() && total.is_some() && rest.total != total {
                    let problem = "the file's length changed between two requests";
                    return Err(rest.answer.wrong(problem).into());
                }
                rest.read_into(&mut bytes, end)?;
            }
        }
        let actual = bytes.len() as u64;
        let json = bytes.get(8..end as usize);
        let json = json.ok_or(HeaderError::Truncated { expected: end, actual }).map_err(fail)?;
        let data = piece.total.map(|total| total.saturating_sub(end));
        let header = parse_header(json, data).map_err(fail)?;
        Ok(Some((TensorFile { name: name.to_owned(), bytes: piece.total }, header)))
    }

    /// Requests bytes of a file, first and last included.
    fn range(&self, name: &str, first: u64, last: u64) -> Result<Option<Piece>, HubError> {
        let Some(answer) = self.get(name, Some((first, last)))? else {
            return Ok(None);
        };
        if answer.status == StatusCode::PARTIAL_CONTENT {
            return match answer.content_range() {
                Some((start, total)) if start == first => {
                    Ok(Some(Piece { total, answer, is_range: true, skip: 0 }))
                }
                _ => Err(answer.wrong("the part it sends is not the one that was asked for")),
            };
        }
        // The server ignores ranges: what comes before the part is read and thrown away, what comes behind is left.
        let total = answer.length();
        Ok(Some(Piece { total, answer, is_range: false, skip: first }))
    }
}

/// The beginning of a file, or a part of it.
struct Piece {
    answer: HubAnswer,
    /// Length of the whole file.
    total: Option<u64>,
    is_range: bool,
    /// Bytes before the part that the server sends nevertheless.
    skip: u64,
}

impl Piece {
    /// Reads until `bytes` is `length` long or the answer ends.
    fn read_into(&mut self, bytes: &mut Vec<u8>, length: u64) -> Result<(), HubError> {
        if self.skip > 0 {
            let mut unwanted = Vec::new();
            self.answer.read_up_to(&mut unwanted, self.skip)?;
            self.skip = 0;
        }
        self.answer.read_up_to(bytes, length)
    }
}

fn utf8(answer: HubAnswer, limit: u64) -> Result<String, HubError> {
    let wrong = answer.wrong("it is no text");
    String::from_utf8(answer.body(limit)?).map_err(|_| wrong)
}
