//! Folders with data files that add to or override the embedded catalogs.
//!
//! Two folders are looked at: the one named with `--data-dir`, and the configuration folder of the platform
//! (macOS `~/Library/Application Support/mlxplan`, elsewhere `$XDG_CONFIG_HOME/mlxplan` or `~/.config/mlxplan`).
//! A file in the first wins over the same file in the second, and both win over the embedded data.

use crate::files;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Largest data file that is read, in bytes (16 MiB). The embedded files stay under 1 MiB.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// Files that a data folder may hold.
const NAMES: [&str; 6] = [
    "chips.toml",
    "macs.toml",
    "prices.toml",
    "gpu_memory_limits.toml",
    "models.json",
    "hub_models.json",
];
/// Files that are looked at in a folder, to tell which of them are not read.
const LOOKED_AT: usize = 1000;

/// Environment variable that stands for `--data-dir`.
pub const VARIABLE: &str = "MLXPLAN_DATA_DIR";

/// Folders with data files, the one with the highest precedence first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataDirs {
    dirs: Vec<PathBuf>,
    notes: Vec<String>,
}

/// One data file that was found in a [`DataDirs`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

/// A data folder or file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The folder given with `--data-dir` is not there.
    #[error("the data folder {} does not exist; create it, or correct --data-dir ({VARIABLE})", .0.display())]
    Missing(PathBuf),
    /// The path given with `--data-dir` is something else than a folder.
    #[error("--data-dir {} ({VARIABLE}) is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// The file exists but cannot be read as text.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The file is larger than [`MAX_FILE_BYTES`].
    #[error("{} is larger than {} MiB, too large for a data file", .0.display(), MAX_FILE_BYTES >> 20)]
    TooLarge(PathBuf),
}

impl DataDirs {
    /// No folders: only the embedded data.
    #[must_use]
    pub const fn none() -> Self {
        Self { dirs: Vec::new(), notes: Vec::new() }
    }

    /// These folders, the one with the highest precedence first.
    #[must_use]
    pub const fn new(dirs: Vec<PathBuf>) -> Self {
        Self { dirs, notes: Vec::new() }
    }

    /// The folder of `--data-dir`, if given, then the configuration folder of this platform.
    ///
    /// # Errors
    /// When the folder of `--data-dir` does not exist. The configuration folder need not exist; where it cannot be
    /// used, a note says so. An empty `--data-dir`, as of a variable that is set to nothing, is none.
    pub fn discover(data_dir: Option<&Path>) -> Result<Self, DataDirError> {
        let mut dirs = Vec::new();
        let mut notes = Vec::new();
        if data_dir.is_some_and(|dir| dir.as_os_str().is_empty()) {
            notes.push(format!("--data-dir ({VARIABLE}) is empty: no folder is read for it"));
        } else if let Some(dir) = data_dir {
            if !dir.exists() {
                return Err(DataDirError::Missing(dir.to_owned()));
            }
            if !dir.is_dir() {
                return Err(DataDirError::NotAFolder(dir.to_owned()));
            }
            notes.extend(unread(dir));
            dirs.push(dir.to_owned());
        }
        if let Some(base) = base_for(cfg!(target_os = "macos"), &var) {
            match unusable(&base) {
                None => dirs.push(base.config()),
                Some(note) => notes.push(note),
            }
        }
        Ok(Self { dirs, notes })
    }

    /// What is wrong with the surroundings, in whole sentences.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The folders, the one with the highest precedence first.
    #[must_use]
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// Reads `name` (a bare file name) from every folder that has it, in the order in which the files apply:
    /// the lowest precedence first, so that a later file overrides an earlier one.
    ///
    /// # Errors
    /// When a file is there but cannot be read, is no UTF-8 text, or is larger than [`MAX_FILE_BYTES`].
    pub fn read(&self, name: &str) -> Result<Vec<DataFile>, DataDirError> {
        let mut files = Vec::new();
        for dir in self.dirs.iter().rev() {
            let path = dir.join(name);
            if let Some(text) = read_optional(&path)? {
                files.push(DataFile { path, text });
            }
        }
        Ok(files)
    }
}

/// The text of a file, or `None` when there is no such file.
fn read_optional(path: &Path) -> Result<Option<String>, DataDirError> {
    let unreadable = |source| DataDirError::Unreadable { path: path.to_owned(), source };
    match files::text(path, MAX_FILE_BYTES) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::FileTooLarge => {
            Err(DataDirError::TooLarge(path.to_owned()))
        }
        Err(e) => Err(unreadable(e)),
    }
}

/// mlxplan's configuration folder on this platform; `None` when the environment names no home folder.
#[must_use]
pub fn config_dir() -> Option<PathBuf> {
    config_dir_for(cfg!(target_os = "macos"), &var)
}

/// mlxplan's folder for what can be fetched again (macOS `~/Library/Caches/mlxplan`, elsewhere
/// `$XDG_CACHE_HOME/mlxplan` or `~/.cache/mlxplan`); `None` when the environment names no home folder.
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    cache_dir_for(cfg!(target_os = "macos"), &var)
}

fn cache_dir_for(macos: bool, var: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let named = |name| var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = match macos {
        true => named("HOME")?.join("Library/Caches"),
        false => named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")))?,
    };
    Some(folder.join("mlxplan"))
}

fn config_dir_for(macos: bool, var: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    base_for(macos, var).map(|base| base.config())
}

fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The folder under which the configuration folder lies.
struct Base {
    /// The variable that names it.
    variable: &'static str,
    /// Its value.
    folder: PathBuf,
    /// From there to the folders of all programs.
    below: &'static str,
}

impl Base {
    fn config(&self) -> PathBuf {
        self.folder.join(self.below).join("mlxplan")
    }
}

fn base_for(macos: bool, var: &dyn Fn(&str) -> Option<OsString>) -> Option<Base> {
    let named = |variable, below| {
        let folder = var(variable).map(PathBuf::from).filter(|path| path.is_absolute())?;
        Some(Base { variable, folder, below })
    };
    match macos {
        true => named("HOME", "Library/Application Support"),
        false => named("XDG_CONFIG_HOME", "").or_else(|| named("HOME", ".config")),
    }
}

/// Why the configuration folder cannot be read, if that is so. One that is not there is simply empty.
fn unusable(base: &Base) -> Option<String> {
    let config = base.config();
    let problem = match std::fs::read_dir(&config).map(|_| ()) {
        Ok(()) => return None,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) => e,
    };
    Some(format!(
        "your own data is not read: {} cannot be ({problem}); {} is {}",
        config.display(),
        base.variable,
        base.folder.display(),
    ))
}

/// A note on files of a data folder that look like data and are not read: a name with a slip, or data that cannot be
/// added to.
fn unread(dir: &Path) -> Option<String> {
    let names = std::fs::read_dir(dir).ok()?.flatten().take(LOOKED_AT);
    let mut others: Vec<String> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".toml") || name.ends_with(".json"))
        .filter(|name| !NAMES.contains(&name.as_str()))
        .collect();
    others.sort();
    let first = others.first()?;
    let more =
        if others.len() > 1 { format!(" and {} more", others.len() - 1) } else { String::new() };
    Some(format!(
        "{}{more} is not read: a data folder holds {}",
        dir.join(first).display(),
        NAMES.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_folder_follows_the_platform() {
        let home = |name: &str| (name == "HOME").then(|| "/home/a".into());
        let xdg = |name: &str| match name {
            "HOME" => Some("/home/a".into()),
            "XDG_CONFIG_HOME" => Some("/cfg".into()),
            _ => None,
        };
        assert_eq!(config_dir_for(false, &home), Some("/home/a/.config/mlxplan".into()));
        assert_eq!(config_dir_for(false, &xdg), Some("/cfg/mlxplan".into()));
        assert_eq!(
            config_dir_for(true, &xdg),
            Some("/home/a/Library/Application Support/mlxplan".into())
        );
        assert_eq!(config_dir_for(false, &|_| None), None);
        assert_eq!(config_dir_for(false, &|_| Some("relative".into())), None);
    }

    #[test]
    fn files_apply_from_the_lowest_precedence_up() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (root.path().join("first"), root.path().join("second"));
        for dir in [&first, &second] {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("chips.toml"), dir.to_str().unwrap()).unwrap();
        }
        let dirs = DataDirs::new(vec![first.clone(), second.clone()]);
        let paths: Vec<_> = dirs.read("chips.toml").unwrap().into_iter().map(|f| f.path).collect();
        assert_eq!(paths, [second.join("chips.toml"), first.join("chips.toml")]);
        assert!(dirs.read("macs.toml").unwrap().is_empty());
    }

    #[test]
    fn a_named_folder_must_exist() {
        let root = tempfile::tempdir().unwrap();
        let missing = root.path().join("nowhere");
        assert!(matches!(DataDirs::discover(Some(&missing)), Err(DataDirError::Missing(_))));
        let file = root.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(matches!(DataDirs::discover(Some(&file)), Err(DataDirError::NotAFolder(_))));
        assert_eq!(DataDirs::discover(Some(root.path())).unwrap().dirs()[0], root.path());
    }

    #[test]
    fn surroundings_that_cannot_be_read_are_noted() {
        let none = DataDirs::discover(Some(Path::new(""))).unwrap();
        assert!(none.notes()[0].contains(VARIABLE), "{none:?}");
        let base =
            |folder: &str| Base { variable: "HOME", folder: folder.into(), below: ".config" };
        let note = unusable(&base("/dev/null")).unwrap();
        assert!(note.contains("HOME is /dev/null"), "{note}");
        assert_eq!(unusable(&base("/nowhere")), None);
    }

    #[test]
    fn files_that_are_not_read_are_named() {
        let root = tempfile::tempdir().unwrap();
        for name in ["chips.toml", "notes.txt"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        assert!(DataDirs::discover(Some(root.path())).unwrap().notes().is_empty());
        for name in ["engines.toml", "model.json"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        let notes = DataDirs::discover(Some(root.path())).unwrap().notes().join("\n");
        assert!(notes.contains("engines.toml and 1 more is not read"), "{notes}");
    }

    #[test]
    fn a_file_that_is_no_text_is_an_error_with_its_path() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("macs.toml"), [0xff, 0xfe]).unwrap();
        let error = DataDirs::new(vec![root.path().to_owned()]).read("macs.toml").unwrap_err();
        assert!(error.to_string().contains("macs.toml"), "{error}");
    }
}
