//! What was read from the hub before, kept on disk: configurations, indexes and headers, never weights.
//!
//! Layout: `ORG--NAME/refs/REVISION` names a commit, and `ORG--NAME/COMMIT/FILE.gz` holds the beginning of a file with
//! the length of the whole. Files of a commit never change, so that they are never read twice. What cannot be written
//! or is broken is as if it were not there.

use super::repo::{RepoRef, is_commit};
use crate::files;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Most repositories that are kept; of more, those that the hub was asked for longest ago go.
const MOST_REPOSITORIES: usize = 300;
/// Most bytes of one kept file, unpacked and packed.
const MOST_BYTES: u64 = 128 << 20;
/// Stands for a file that the repository does not have.
const ABSENT: u64 = u64::MAX;
/// Stands for a length that the server did not tell.
const UNKNOWN: u64 = u64::MAX - 1;
/// Bytes of the length in front.
const LENGTH: usize = 8;

/// A file as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The repository does not have it.
    Absent,
    /// Its beginning, and its whole length where known.
    Bytes {
        /// From the first byte on.
        bytes: Vec<u8>,
        /// Length of the whole file.
        total: Option<u64>,
    },
}

/// The files of one repository.
#[derive(Clone, Debug)]
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    /// The store of a repository below `root`.
    pub fn of(root: &Path, repo: &RepoRef) -> Self {
        let folder = root.join(format!("{}--{}", repo.organization(), repo.name()));
        Self { folder }
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(flat(revision))
    }

    /// The commit that a revision was at when it was last asked for, and how long ago that was.
    pub fn commit(&self, revision: &str) -> Option<(String, Duration)> {
        let path = self.reference(revision);
        let text = files::text(&path, 200).ok()?;
        let commit = text.trim();
        let asked = path.metadata().and_then(|m| m.modified()).ok()?;
        let age = SystemTime::now().duration_since(asked).unwrap_or_default();
        is_commit(commit).then(|| (commit.to_owned(), age))
    }

    /// Remembers the commit of a revision. The oldest repositories go when there are too many.
    pub fn set_commit(&self, revision: &str, commit: &str) {
        if self.put_bytes(&self.reference(revision), commit.as_bytes()) {
            self.make_room();
        }
    }

    /// A file at a commit.
    pub fn get(&self, commit: &str, file: &str) -> Option<Kept> {
        let packed = files::bytes(&self.path(commit, file), MOST_BYTES).ok()?;
        let mut bytes = Vec::new();
        GzDecoder::new(packed.as_slice()).take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
        let total = u64::from_le_bytes(*bytes.first_chunk::<LENGTH>()?);
        bytes.drain(..LENGTH);
        Some(match total {
            ABSENT => Kept::Absent,
            UNKNOWN => Kept::Bytes { bytes, total: None },
            total => Kept::Bytes { bytes, total: Some(total) },
        })
    }

    /// Keeps a file at a commit.
    pub fn put(&self, commit: &str, file: &str, kept: &Kept) {
        let (total, bytes) = match kept {
            Kept::Absent => (ABSENT, [].as_slice()),
            Kept::Bytes { bytes, total } => (total.unwrap_or(UNKNOWN), bytes.as_slice()),
        };
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        let packed = packer
            .write_all(&total.to_le_bytes())
            .and_then(|()| packer.write_all(bytes))
            .and_then(|()| packer.finish());
        if let Ok(packed) = packed {
            self.put_bytes(&self.path(commit, file), &packed);
        }
    }

    fn path(&self, commit: &str, file: &str) -> PathBuf {
        self.folder.join(flat(commit)).join(format!("{}.gz", flat(file)))
    }

    /// Whether it could be written.
    fn put_bytes(&self, path: &Path, bytes: &[u8]) -> bool {
        let made = path.parent().is_none_or(|folder| fs::create_dir_all(folder).is_ok());
        made && files::write(path, bytes).is_ok()
    }

    fn make_room(&self) {
        let Some(listing) = self.folder.parent().and_then(|root| fs::read_dir(root).ok()) else {
            return;
        };
        let asked = |path: &Path| path.join("refs").metadata().and_then(|m| m.modified()).ok();
        let mut all: Vec<_> = listing
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.join("refs").is_dir() && *path != self.folder)
            .map(|path| (asked(&path), path))
            .collect();
        all.sort();
        let surplus = (all.len() + 1).saturating_sub(MOST_REPOSITORIES);
        for (_, path) in all.into_iter().take(surplus) {
            // One that another process is reading stays until the next time.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// A name without slashes and leading points, as a file name.
fn flat(name: &str) -> String {
    name.replace('/', "--").trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn store(root: &Path, name: &str) -> Store {
        Store::of(root, &RepoRef::parse(name).unwrap())
    }

    #[test]
    fn what_is_kept_comes_back() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path(), "org/name");
        assert_eq!(store.get(COMMIT, "config.json"), None);
        assert_eq!(store.commit("refs/pr/1"), None);
        for kept in [
            Kept::Absent,
            Kept::Bytes { bytes: b"abc".to_vec(), total: Some(7) },
            Kept::Bytes { bytes: Vec::new(), total: None },
        ] {
            store.put(COMMIT, "sub/config.json", &kept);
            assert_eq!(store.get(COMMIT, "sub/config.json"), Some(kept));
        }
        store.set_commit("refs/pr/1", COMMIT);
        let (commit, age) = store.commit("refs/pr/1").unwrap();
        assert_eq!(commit, COMMIT);
        assert!(age < Duration::from_secs(600));
    }

    #[test]
    fn what_is_broken_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path(), "org/name");
        store.put(COMMIT, "a", &Kept::Absent);
        fs::write(store.path(COMMIT, "a"), b"no gzip").unwrap();
        assert_eq!(store.get(COMMIT, "a"), None);
        store.set_commit("main", "../../etc");
        assert_eq!(store.commit("main"), None);
        // A place where nothing can be written.
        let nowhere = Store::of(Path::new("/dev/null"), &RepoRef::parse("org/name").unwrap());
        nowhere.put(COMMIT, "a", &Kept::Absent);
        assert_eq!(nowhere.get(COMMIT, "a"), None);
    }

    #[test]
    fn the_oldest_repositories_go() {
        let root = tempfile::tempdir().unwrap();
        for i in 0..MOST_REPOSITORIES + 3 {
            fs::create_dir_all(root.path().join(format!("org--m{i}/refs"))).unwrap();
        }
        store(root.path(), "org/new").set_commit("main", COMMIT);
        let left = fs::read_dir(root.path()).unwrap().count();
        assert_eq!(left, MOST_REPOSITORIES);
        assert!(root.path().join("org--new").is_dir());
    }
}
