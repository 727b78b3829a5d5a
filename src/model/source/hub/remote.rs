//! One repository at one revision: its files, as they were kept or as the hub sends them.

use super::super::MAX_CONFIG_BYTES;
use super::super::error::SourceError;
use super::super::layout::{CONFIG_FILE, INDEX_FILE, MODELOPT_FILE};
use super::super::note::SourceNote;
use super::super::safetensors::{Header, HeaderError, header_length, parse_header};
use super::super::shards::{ShardIndex, assemble, parse_shard_index};
use super::super::tensors::{TensorFile, TensorIndex};
use super::error::HubError;
use super::http::{Http, HubAnswer};
use super::options::HubOptions;
use super::repo::{RepoRef, is_commit};
use super::store::{Kept, Store};
use super::{FIRST_PIECE, HubProgress, MAX_REMOTE_HEADER_BYTES};
use crate::http::shown;
use crate::model::config::Config;
use reqwest::StatusCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Headers that are fetched at the same time.
const PARALLEL: usize = 4;
/// Longest index that is fetched, in bytes. That of a model with 100 000 tensors has 10 MB.
const MAX_REMOTE_INDEX_BYTES: u64 = 100_000_000;
/// Longest list of files, in bytes.
const MAX_LISTING_BYTES: u64 = 20_000_000;
/// For so long the commit of a branch is not asked for again.
const FRESH: Duration = Duration::from_secs(3600);
/// What the list of a repository's files is kept as.
const LISTING: &str = "list of files";

/// The bytes of a file's header, and the length of the whole file where that is known.
type Fetched = (Vec<u8>, Option<u64>);

/// One repository at one revision.
pub(super) struct Remote<'a> {
    http: Http,
    pub repo: &'a RepoRef,
    revision: String,
    token: bool,
    offline: bool,
    store: Option<Store>,
    /// How old what is read is, and why it is not asked for again.
    kept: Option<(Duration, String)>,
}

impl<'a> Remote<'a> {
    pub fn new(repo: &'a RepoRef, options: &HubOptions) -> Result<Self, HubError> {
        let store = options.store.as_deref().map(|root| Store::of(root, repo));
        let mut remote = Self {
            http: Http::new(options)?,
            repo,
            revision: repo.revision().to_owned(),
            token: options.token.is_some(),
            offline: options.offline,
            store,
            kept: None,
        };
        let known = remote.store.as_ref().and_then(|s| s.commit(&remote.revision));
        match known {
            Some((commit, age)) if options.offline => {
                remote.kept = Some((age, "this is an offline run".to_owned()));
                remote.revision = commit;
            }
            Some((commit, age)) if age < FRESH => remote.revision = commit,
            None if options.offline => return Err(HubError::Offline(repo.to_string())),
            _ => {}
        }
        Ok(remote)
    }

    /// `org/name`.
    pub fn id(&self) -> String {
        self.repo.id()
    }

    /// The commit, once it is known.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The repository's address.
    pub fn address(&self) -> String {
        shown(self.http.url(&[self.repo.organization(), self.repo.name()]).as_str())
    }

    /// A file's name for error messages.
    pub fn place(&self, file: &str) -> String {
        match file {
            "" => format!("hf:{}", self.repo.id()),
            file => format!("hf:{} {file}", self.repo.id()),
        }
    }

    /// What the user should know about the age of what was read.
    pub fn note(&self) -> Option<SourceNote> {
        let (age, reason) = self.kept.clone()?;
        Some(SourceNote::KeptCopy { days: age.as_secs() / 86_400, reason })
    }

    /// Requests a file; `None` when the repository does not have it.
    fn get(&self, file: &str, range: Option<(u64, u64)>) -> Result<Option<HubAnswer>, HubError> {
        let repo = self.repo;
        let mut segments = vec![repo.organization(), repo.name(), "resolve", &self.revision];
        segments.extend(file.split('/'));
        self.request(&segments, file, range)
    }

    fn request(
        &self,
        segments: &[&str],
        file: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Option<HubAnswer>, HubError> {
        if self.offline {
            return Err(HubError::Offline(self.repo.to_string()));
        }
        let answer = self.http.get(&self.http.url(segments), range, &self.place(file))?;
        let id = self.repo.id();
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

    /// What was kept of a file at this commit.
    pub fn stored(&self, file: &str) -> Option<Kept> {
        self.store.as_ref()?.get(&self.revision, file)
    }

    /// Keeps a file of this commit. A branch is no commit.
    pub fn keep(&self, file: &str, kept: &Kept) {
        if let Some(store) = self.store.as_ref().filter(|_| is_commit(&self.revision)) {
            store.put(&self.revision, file, kept);
        }
    }

    /// Takes the commit that the hub names for what is read from here on.
    fn pin(&mut self, commit: Option<String>) {
        let Some(commit) = commit else { return };
        if let Some(store) = &self.store {
            store.set_commit(self.repo.revision(), &commit);
        }
        self.revision = commit;
    }

    /// Reads a small file, which pins the commit; `None` when the repository does not have it. What was kept serves
    /// where the hub cannot be reached.
    fn first(
        &mut self,
        (segments, name): (&[&str], &str),
        limit: u64,
        commit: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, SourceError> {
        if let Some(kept) = self.stored(name) {
            return self.text(kept, name);
        }
        let answer = match self.request(segments, name, None) {
            Ok(answer) => answer,
            Err(error) => {
                let known = self.store.as_ref().and_then(|s| s.commit(&self.revision));
                let (Some((commit, age)), true) = (known, error.is_unreachable()) else {
                    return Err(error.into());
                };
                self.revision = commit;
                let Some(kept) = self.stored(name) else { return Err(error.into()) };
                self.kept = Some((age, error.to_string()));
                self.offline = true;
                return self.text(kept, name);
            }
        };
        let Some(answer) = answer else { return Ok(None) };
        let stated = answer.commit.clone();
        let total = answer.length();
        let text = utf8(answer, limit)?;
        let named = stated.or_else(|| commit(&text));
        self.pin(named);
        self.keep(name, &Kept::Bytes { bytes: text.clone().into_bytes(), total });
        Ok(Some(text))
    }

    fn text(&self, kept: Kept, name: &str) -> Result<Option<String>, SourceError> {
        match kept {
            Kept::Absent => Ok(None),
            Kept::Bytes { bytes, .. } => match String::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(SourceError::Inconsistent {
                    place: self.place(name),
                    problem: "what was kept of it is no text".to_owned(),
                }),
            },
        }
    }

    /// A small file at the pinned commit; `None` when the repository does not have it.
    fn small(&self, name: &str, limit: u64) -> Result<Option<String>, SourceError> {
        if let Some(kept) = self.stored(name) {
            return self.text(kept, name);
        }
        let Some(answer) = self.get(name, None)? else {
            self.keep(name, &Kept::Absent);
            return Ok(None);
        };
        let total = answer.length();
        let text = utf8(answer, limit)?;
        self.keep(name, &Kept::Bytes { bytes: text.clone().into_bytes(), total });
        Ok(Some(text))
    }

    /// Reads the configuration and pins the commit; `None` when the repository has none.
    pub fn config(&mut self) -> Result<Option<Config>, SourceError> {
        let repo = self.repo;
        let revision = self.revision.clone();
        let segments = [repo.organization(), repo.name(), "resolve", &revision, CONFIG_FILE];
        let text = self.first((&segments, CONFIG_FILE), MAX_CONFIG_BYTES, |_| None)?;
        text.map(|text| self.parsed(CONFIG_FILE, &text)).transpose()
    }

    /// Reads what ModelOpt keeps in a file of its own.
    pub fn beside(&self) -> Result<Option<Config>, SourceError> {
        let text = self.small(MODELOPT_FILE, MAX_CONFIG_BYTES)?;
        text.map(|text| self.parsed(MODELOPT_FILE, &text)).transpose()
    }

    fn parsed(&self, file: &str, text: &str) -> Result<Config, SourceError> {
        Config::parse(text).map_err(|error| SourceError::Config { file: self.place(file), error })
    }

    /// Reads what the hub tells of the repository, which lists its files, and pins the commit. `commit` finds the commit
    /// in it. `None` when the hub does not list it.
    pub fn listing(
        &mut self,
        commit: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, SourceError> {
        let repo = self.repo;
        let revision = self.revision.clone();
        let segments =
            ["api", "models", repo.organization(), repo.name(), "revision", revision.as_str()];
        self.first((&segments, LISTING), MAX_LISTING_BYTES, commit)
    }

    /// Reads the list of shards, if there is one.
    pub fn index(&self) -> Result<Option<ShardIndex>, SourceError> {
        let Some(text) = self.small(INDEX_FILE, MAX_REMOTE_INDEX_BYTES)? else {
            return Ok(None);
        };
        let index = parse_shard_index(&text);
        index
            .map(Some)
            .map_err(|problem| SourceError::ShardIndex { file: self.place(INDEX_FILE), problem })
    }

    /// Reads the headers of all files; `None` when there is no list of shards and no single file either.
    pub fn headers(
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
        let stored = self.stored(name);
        let is_new = stored.is_none();
        let (bytes, total) = match stored {
            Some(Kept::Bytes { bytes, total }) => (bytes, total),
            Some(Kept::Absent) => return Ok(None),
            None => match self.fetch_header(name)? {
                Some(header) => header,
                None => {
                    self.keep(name, &Kept::Absent);
                    return Ok(None);
                }
            },
        };
        let length = bytes.first_chunk::<8>().map(|first| header_length(*first, total));
        let truncated = |expected| HeaderError::Truncated { expected, actual: bytes.len() as u64 };
        let end = length.ok_or_else(|| fail(truncated(8)))?.map_err(fail)? + 8;
        let json = bytes.get(8..end as usize).ok_or_else(|| fail(truncated(end)))?;
        let data = total.map(|total| total.saturating_sub(end));
        let header = parse_header(json, data).map_err(fail)?;
        if is_new {
            self.keep(name, &Kept::Bytes { bytes, total });
        }
        Ok(Some((TensorFile { name: name.to_owned(), bytes: total }, header)))
    }

    /// The bytes of a file's header, and the length of the whole file.
    fn fetch_header(&self, name: &str) -> Result<Option<Fetched>, SourceError> {
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
        Ok(Some((bytes, piece.total)))
    }

    /// Requests bytes of a file, first and last included.
    pub fn range(&self, name: &str, first: u64, last: u64) -> Result<Option<Piece>, HubError> {
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
pub(super) struct Piece {
    answer: HubAnswer,
    /// Length of the whole file.
    pub total: Option<u64>,
    is_range: bool,
    /// Bytes before the part that the server sends nevertheless.
    skip: u64,
}

impl Piece {
    /// Reads until `bytes` is `length` long or the answer ends.
    pub fn read_into(&mut self, bytes: &mut Vec<u8>, length: u64) -> Result<(), HubError> {
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
