//! Repositories of GGUF files: which file is meant, and its header by range.

use super::super::error::SourceError;
use super::super::gguf::file_name::{is_of_type, split_name};
use super::super::gguf::{GgufError, GgufInfo};
use super::super::layout::CONFIG_FILE;
use super::super::{ModelSource, Origin};
use super::HubProgress;
use super::error::HubError;
use super::remote::Remote;
use super::repo::is_commit;
use super::store::Kept;
use serde::Deserialize;
use std::io::{self, Read};
use std::path::PathBuf;

/// Longest header that is fetched, in bytes. A vocabulary of 262 144 tokens with merges takes about 12 MB.
const MAX_GGUF_HEADER_BYTES: u64 = 64 << 20;
/// Bytes of each piece that is asked for.
const PIECE: u64 = 2 << 20;
/// Most files of a split model.
const MAX_PARTS: usize = 300;
/// What llama.cpp and LM Studio take where no type is said, in this order.
const DEFAULTS: [&str; 4] = ["Q4_K_M", "MXFP4", "Q4_0", "Q4_K_S"];

/// What the hub tells of a repository.
#[derive(Deserialize)]
struct Listing {
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Reads the header of the file of type `file_type`, or of the one that is the default.
pub(super) fn open(
    remote: &mut Remote<'_>,
    file_type: Option<&str>,
    progress: &(dyn Fn(HubProgress) + Sync),
) -> Result<ModelSource, SourceError> {
    let sha = |text: &str| serde_json::from_str::<Listing>(text).ok()?.sha.filter(|s| is_commit(s));
    let text = remote.listing(sha)?.ok_or_else(|| no_config(remote))?;
    let listing: Listing = serde_json::from_str(&text).map_err(|e| SourceError::Inconsistent {
        place: remote.place(""),
        problem: format!("the hub's list of its files is none: {e}"),
    })?;
    if listing.siblings.iter().all(|s| s.rfilename != CONFIG_FILE) {
        // So that it is not asked for the next time, when there may be no hub to ask.
        remote.keep(CONFIG_FILE, &Kept::Absent);
    }
    let names = listing.siblings.into_iter().map(|s| s.rfilename).filter(|n| is_safe(n)).collect();
    let models = models(names);
    if models.is_empty() {
        return Err(no_config(remote).into());
    }
    let Some(chosen) = choose(&models, file_type) else {
        let known: Vec<&str> =
            models.iter().filter_map(|m| m.first()).map(String::as_str).collect();
        return Err(SourceError::Inconsistent {
            place: remote.place(""),
            problem: format!(
                "it has {} GGUF files and none of {}; name one by its type ({}:TYPE): {}",
                known.len(),
                file_type.unwrap_or("the usual types"),
                remote.id(),
                known.iter().take(40).copied().collect::<Vec<_>>().join(", ")
            ),
        });
    };
    let mut infos = Vec::new();
    progress(HubProgress { done: 0, total: chosen.len() });
    for (i, name) in chosen.iter().enumerate() {
        infos.push(header(remote, name)?);
        progress(HubProgress { done: i + 1, total: chosen.len() });
    }
    let first = chosen.first().cloned().unwrap_or_default();
    let info = GgufInfo::joined(infos).map_err(|error| wrong(remote, &first, error))?;
    let origin = Origin::HubGguf {
        url: remote.address(),
        revision: remote.revision().to_owned(),
        file: first,
        parts: chosen.len(),
    };
    Ok(ModelSource::of_gguf(remote.id(), origin, info))
}

fn no_config(remote: &Remote<'_>) -> HubError {
    HubError::NoFile {
        repo: remote.id(),
        revision: remote.repo.revision().to_owned(),
        file: CONFIG_FILE.to_owned(),
        hint: " and no GGUF file; check the spelling",
    }
}

fn wrong(remote: &Remote<'_>, name: &str, error: GgufError) -> SourceError {
    SourceError::Gguf { path: PathBuf::from(remote.place(name)), error }
}

/// Whether a name from the list is a plain path inside the repository.
fn is_safe(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && !part.chars().any(char::is_control)
    };
    name.len() < 400 && name.split('/').all(plain)
}

/// The models among the files: of a split one all its parts, in order. Projectors are no models of their own.
fn models(mut names: Vec<String>) -> Vec<Vec<String>> {
    names.sort();
    let mut models: Vec<Vec<String>> = Vec::new();
    for name in names {
        let file = name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        if !file.ends_with(".gguf") || file.contains("mmproj") || file.contains("imatrix") {
            continue;
        }
        let (stem, part) = split_name(&name);
        let of_the_same = |model: &&mut Vec<String>| {
            part.is_some() && model.first().is_some_and(|first| split_name(first).0 == stem)
        };
        match models.last_mut().filter(of_the_same) {
            Some(model) => model.push(name),
            None => models.push(vec![name]),
        }
    }
    models.retain(|m| m.len() <= MAX_PARTS);
    models
}

/// The model of a type, or the default one.
fn choose<'m>(models: &'m [Vec<String>], file_type: Option<&str>) -> Option<&'m Vec<String>> {
    let of_type = |wanted: &str| {
        let is = |model: &&Vec<String>| model.first().is_some_and(|f| is_of_type(f, wanted));
        let mut all: Vec<&Vec<String>> = models.iter().filter(is).collect();
        // "Q4_K_XL" is not "UD-Q4_K_XL" where there are both: the shorter name says no more than was asked.
        all.sort_by_key(|m| m.first().map_or(0, String::len));
        all.first().copied()
    };
    match (file_type, models) {
        (Some(wanted), _) => of_type(wanted),
        (None, [one]) => Some(one),
        (None, _) => DEFAULTS.iter().find_map(|wanted| of_type(wanted)),
    }
}

/// The header of one file.
fn header(remote: &Remote<'_>, name: &str) -> Result<GgufInfo, SourceError> {
    let (kept, total) = match remote.stored(name) {
        Some(Kept::Bytes { bytes, total }) => (bytes, total),
        _ => (Vec::new(), None),
    };
    let known = kept.len();
    let mut reader = Ranged { remote, name, bytes: kept, at: 0, total, problem: None };
    if known == 0 {
        reader.more()?;
    }
    let whole = reader.total;
    let parsed = GgufInfo::parse_header(&mut reader, whole);
    let Ranged { mut bytes, total, at, problem, .. } = reader;
    if let Some(error) = problem {
        return Err(error.into());
    }
    let info = parsed.map_err(|error| wrong(remote, name, error))?;
    if bytes.len() > known {
        bytes.truncate(at);
        remote.keep(name, &Kept::Bytes { bytes, total });
    }
    Ok(info)
}

/// Reads a file from its beginning, piece by piece as it is needed.
struct Ranged<'r> {
    remote: &'r Remote<'r>,
    name: &'r str,
    /// What has arrived.
    bytes: Vec<u8>,
    /// What of it has been read.
    at: usize,
    total: Option<u64>,
    /// Why the hub did not send more, which an `io::Error` cannot say.
    problem: Option<HubError>,
}

impl Ranged<'_> {
    /// Asks for the next piece; at the end of the file nothing is added.
    fn more(&mut self) -> Result<(), HubError> {
        let first = self.bytes.len() as u64;
        if self.total.is_some_and(|total| first >= total) {
            return Ok(());
        }
        if first >= MAX_GGUF_HEADER_BYTES {
            let what = format!("the header of {}", self.remote.place(self.name));
            return Err(HubError::TooLong { what, limit: MAX_GGUF_HEADER_BYTES });
        }
        if let Some(mut piece) = self.remote.range(self.name, first, first + PIECE - 1)? {
            self.total = self.total.or(piece.total);
            piece.read_into(&mut self.bytes, first + PIECE)?;
        }
        Ok(())
    }
}

impl Read for Ranged<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.bytes.len()
            && let Err(error) = self.more()
        {
            self.problem = Some(error);
            return Err(io::Error::other("the hub's answer"));
        }
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_chosen_as_programs_do() {
        let names = [
            "README.md",
            "mmproj-F16.gguf",
            "imatrix_unsloth.gguf",
            "M-Q4_K_M.gguf",
            "M-UD-Q4_K_XL.gguf",
            "M-Q8_0.gguf",
            "BF16/M-BF16-00001-of-00002.gguf",
            "BF16/M-BF16-00002-of-00002.gguf",
        ];
        let all = models(names.map(str::to_owned).to_vec());
        assert_eq!(all.len(), 4);
        let chosen = |t| choose(&all, t).map(|m| (m.first().map(String::as_str), m.len()));
        assert_eq!(chosen(None), Some((Some("M-Q4_K_M.gguf"), 1)));
        assert_eq!(chosen(Some("q8_0")), Some((Some("M-Q8_0.gguf"), 1)));
        assert_eq!(chosen(Some("BF16")), Some((Some("BF16/M-BF16-00001-of-00002.gguf"), 2)));
        assert_eq!(chosen(Some("Q4_K_XL")), Some((Some("M-UD-Q4_K_XL.gguf"), 1)));
        assert_eq!(chosen(Some("Q2_K")), None);
        for bad in ["../x.gguf", "a//b.gguf", "a/.b.gguf", "a\n.gguf"] {
            assert!(!is_safe(bad), "{bad:?}");
        }
    }
}
