//! Models that are already on this machine: the Hugging Face cache, LM Studio's folder and Ollama's.
//!
//! Layouts: `hub/models--ORG--NAME/snapshots/COMMIT/` with `refs/main` naming the commit
//! (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>), `models/ORG/NAME/` of LM Studio, and Ollama's
//! manifests and blobs.

mod ollama;

use super::gguf::file_name;
use super::layout::CONFIG_FILE;
use super::quant_block::WeightFormat;
use super::safetensors::read_header;
use super::{read_config, read_text};
use crate::files;
use crate::model::names::key;
use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Most entries of one folder that are looked at.
const MAX_ENTRIES: usize = 20_000;

/// Folders to search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheRoots {
    /// `hub` folders of Hugging Face.
    pub hugging_face: Vec<PathBuf>,
    /// `models` folders of LM Studio.
    pub lm_studio: Vec<PathBuf>,
    /// `models` folders of Ollama.
    pub ollama: Vec<PathBuf>,
}

impl CacheRoots {
    /// The folders by environment variables and home folder: `HF_HUB_CACHE`, else `HF_HOME/hub`, else
    /// `XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`; `~/.lmstudio/models` and, for older
    /// versions, `~/.cache/lm-studio/models`; `OLLAMA_MODELS`, else `~/.ollama/models`.
    #[must_use]
    pub fn from_env(var: &dyn Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Self {
        let set = |name: &str| var(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let hub = set("HF_HUB_CACHE")
            .or_else(|| hugging_face_home(var, home).map(|folder| folder.join("hub")));
        let studio = [".lmstudio/models", ".cache/lm-studio/models"];
        Self {
            hugging_face: hub.into_iter().collect(),
            lm_studio: home.map_or_else(Vec::new, |h| studio.map(|s| h.join(s)).to_vec()),
            ollama: set("OLLAMA_MODELS")
                .or_else(|| home.map(|h| h.join(".ollama/models")))
                .into_iter()
                .collect(),
        }
    }

    /// Whether there is no folder to search.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.hugging_face.is_empty() && self.lm_studio.is_empty() && self.ollama.is_empty()
    }
}

/// Hugging Face's own folder, which also holds the token: `HF_HOME`, else `XDG_CACHE_HOME/huggingface`, else
/// `~/.cache/huggingface`.
#[must_use]
pub fn hugging_face_home(
    var: &dyn Fn(&str) -> Option<OsString>,
    home: Option<&Path>,
) -> Option<PathBuf> {
    let set = |name: &str| var(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| home.map(|h| h.join(".cache")));
    set("HF_HOME").or_else(|| cache().map(|folder| folder.join("huggingface")))
}

/// Format of a model on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalFormat {
    /// Converted by MLX.
    Mlx,
    /// Safetensors of another origin.
    Safetensors,
    /// A GGUF file.
    Gguf,
    /// A configuration without weights.
    ConfigOnly,
}

impl std::fmt::Display for LocalFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Mlx => "mlx",
            Self::Safetensors => "safetensors",
            Self::Gguf => "gguf",
            Self::ConfigOnly => "config only",
        })
    }
}

/// Who keeps the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keeper {
    /// The Hugging Face cache.
    HuggingFace,
    /// LM Studio.
    LmStudio,
    /// Ollama.
    Ollama,
}

/// A model that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundModel {
    /// Repository, `ORG/NAME`; in Ollama `NAME:TAG`.
    pub id: String,
    /// Folder, or the (first) file of a GGUF model.
    pub path: PathBuf,
    /// Who keeps it.
    pub keeper: Keeper,
    /// Format.
    pub format: LocalFormat,
    /// Bytes of the weight files.
    pub weight_bytes: u64,
    /// Commit, in the Hugging Face cache.
    pub revision: Option<String>,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Models, sorted by id.
    pub models: Vec<FoundModel>,
    /// Folders that could not be read, with the reason.
    pub problems: Vec<String>,
}

impl Discovery {
    /// The models that are called `name`, with or without organization; case and separators do not matter, except in
    /// names of Ollama.
    #[must_use]
    pub fn find(&self, name: &str) -> Vec<&FoundModel> {
        self.models.iter().filter(|model| is_called(model.keeper, &model.id, name)).collect()
    }
}

/// Whether a model of that id is meant by `name`.
fn is_called(keeper: Keeper, id: &str, name: &str) -> bool {
    if keeper == Keeper::Ollama {
        let plain = id.strip_suffix(":latest");
        return id.eq_ignore_ascii_case(name)
            || plain.is_some_and(|plain| plain.eq_ignore_ascii_case(name));
    }
    let wanted = key(name);
    let short = id.rsplit_once('/').map_or(id, |(_, name)| name);
    key(id) == wanted || key(short) == wanted
}

/// Lists the models in all folders. A folder that does not exist is empty.
#[must_use]
pub fn discover(roots: &CacheRoots) -> Discovery {
    search(roots, &|_, _| true)
}

/// The models that are called `name`; no others are looked into. Behind a repository's name may stand the type of a
/// GGUF file: `org/name:Q4_K_M`.
#[must_use]
pub fn locate(roots: &CacheRoots, name: &str) -> Discovery {
    let typed = name.split_once([':', '@']).filter(|(repository, _)| !repository.is_empty());
    let (repository, file_type) = typed.map_or((name, None), |(r, t)| (r, Some(t)));
    let mut found = search(roots, &|keeper, id| match keeper {
        Keeper::Ollama => is_called(keeper, id, name),
        _ => is_called(keeper, id, repository),
    });
    let is_of_type = |model: &FoundModel| match file_type {
        Some(wanted) if model.keeper != Keeper::Ollama => {
            let name = model.path.file_name().map(|s| s.to_string_lossy());
            model.format == LocalFormat::Gguf
                && name.is_some_and(|name| file_name::is_of_type(&name, wanted))
        }
        _ => true,
    };
    found.models.retain(is_of_type);
    found
}

/// Lists the models whose keeper and id are wanted.
fn search(roots: &CacheRoots, wanted: &dyn Fn(Keeper, &str) -> bool) -> Discovery {
    let mut found = Discovery::default();
    for root in &roots.hugging_face {
        for (name, folder) in folders(root, &mut found.problems) {
            let Some(id) = id_of_cache_folder(&name).filter(|id| wanted(Keeper::HuggingFace, id))
            else {
                continue;
            };
            if let Some((revision, snapshot)) = snapshot(&folder, &mut found.problems) {
                add(&mut found, &id, &snapshot, Keeper::HuggingFace, Some(revision));
            }
        }
    }
    for root in &roots.lm_studio {
        for (organization, folder) in folders(root, &mut found.problems) {
            for (name, model) in folders(&folder, &mut found.problems) {
                let id = format!("{organization}/{name}");
                if wanted(Keeper::LmStudio, &id) {
                    add(&mut found, &id, &model, Keeper::LmStudio, None);
                }
            }
        }
    }
    for root in &roots.ollama {
        ollama::list(root, wanted, &mut found);
    }
    found.models.sort_by(|a, b| (&a.id, &a.path).cmp(&(&b.id, &b.path)));
    found
}

/// The repository that a folder inside one of the caches belongs to.
#[must_use]
pub fn repository_of(path: &Path) -> Option<String> {
    let names: Vec<&str> = path.iter().filter_map(|c| c.to_str()).collect();
    match names.as_slice() {
        [.., folder, "snapshots", _] => id_of_cache_folder(folder),
        [.., studio, "models", organization, name]
            if matches!(*studio, ".lmstudio" | "lm-studio") =>
        {
            Some(format!("{organization}/{name}"))
        }
        _ => None,
    }
}

fn id_of_cache_folder(name: &str) -> Option<String> {
    Some(name.strip_prefix("models--")?.replacen("--", "/", 1))
}

/// The snapshot that `refs/main` names, else the newest one.
fn snapshot(folder: &Path, problems: &mut Vec<String>) -> Option<(String, PathBuf)> {
    let commit = read_text(&folder.join("refs/main"), 200, "reference").unwrap_or_default();
    let mut all = folders(&folder.join("snapshots"), problems);
    let named = all.iter().position(|(name, _)| name == commit.trim());
    let newest = || {
        let time = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
        (0..all.len()).max_by_key(|i| all.get(*i).and_then(|(_, path)| time(path)))
    };
    let at = named.or_else(newest)?;
    (at < all.len()).then(|| all.swap_remove(at))
}

/// Adds the model in a folder, or each of its GGUF models.
fn add(found: &mut Discovery, id: &str, folder: &Path, keeper: Keeper, revision: Option<String>) {
    let files = files(folder, &mut found.problems);
    let sum = |suffix: &str| -> u64 {
        files.iter().filter(|(name, _)| name.ends_with(suffix)).map(|(_, bytes)| *bytes).sum()
    };
    let model = |path: PathBuf, format, weight_bytes| FoundModel {
        id: id.to_owned(),
        path,
        keeper,
        format,
        weight_bytes,
        revision: revision.clone(),
    };
    for (name, bytes) in &files {
        // Projectors of vision models are no models of their own.
        if !name.ends_with(".gguf") || name.starts_with("mmproj") {
            continue;
        }
        match file_name::split_name(name) {
            (prefix, Some((1, _))) => {
                let part =
                    |n: &str| matches!(file_name::split_name(n), (p, Some(_)) if p == prefix);
                let total = files.iter().filter(|(n, _)| part(n)).map(|(_, bytes)| *bytes).sum();
                found.models.push(model(folder.join(name), LocalFormat::Gguf, total));
            }
            (_, Some(_)) => {}
            (_, None) => found.models.push(model(folder.join(name), LocalFormat::Gguf, *bytes)),
        }
    }
    if files.iter().any(|(name, _)| name == CONFIG_FILE) {
        let weights = files.iter().find(|(name, _)| name.ends_with(".safetensors"));
        let format = match weights {
            None => LocalFormat::ConfigOnly,
            Some(_) if is_mlx_config(&folder.join(CONFIG_FILE)) => LocalFormat::Mlx,
            Some((name, bytes)) if is_mlx_file(&folder.join(name), *bytes) => LocalFormat::Mlx,
            Some(_) => LocalFormat::Safetensors,
        };
        found.models.push(model(folder.to_owned(), format, sum(".safetensors")));
    }
}

fn is_mlx_config(path: &Path) -> bool {
    let config = read_config(path);
    config.is_ok_and(|c| matches!(WeightFormat::of(&c), Ok(WeightFormat::Mlx(_))))
}

fn is_mlx_file(path: &Path, bytes: u64) -> bool {
    let header = files::open(path).map(|file| read_header(BufReader::new(file), bytes));
    matches!(header, Ok(Ok(header)) if header.format.as_deref() == Some("mlx"))
}

/// Names and paths of the folders in a folder, sorted; links are followed.
fn folders(path: &Path, problems: &mut Vec<String>) -> Vec<(String, PathBuf)> {
    let mut list: Vec<(String, PathBuf)> = entries(path, problems)
        .into_iter()
        .filter(|(name, path)| !name.starts_with('.') && path.is_dir())
        .collect();
    list.sort();
    list
}

/// Names and sizes of the files in a folder, sorted; links are followed.
fn files(path: &Path, problems: &mut Vec<String>) -> Vec<(String, u64)> {
    let mut list: Vec<(String, u64)> = entries(path, problems)
        .into_iter()
        .filter_map(|(name, path)| {
            let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some((name, metadata.len()))
        })
        .collect();
    list.sort();
    list
}

fn entries(path: &Path, problems: &mut Vec<String>) -> Vec<(String, PathBuf)> {
    let listing = match std::fs::read_dir(path) {
        Ok(listing) => listing,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => {
            problems.push(format!("cannot read {}: {e}", path.display()));
            return Vec::new();
        }
    };
    listing
        .take(MAX_ENTRIES)
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().into_string().ok()?, entry.path()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::testing::{ONE_LAYER, safetensors, write};
    use tempfile::tempdir;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn roots(home: &Path) -> CacheRoots {
        CacheRoots::from_env(&|_| None, Some(home))
    }

    #[test]
    fn environment_variables_move_the_cache() {
        let home = Path::new("/home/u");
        let with = |name: &'static str, value: &'static str| {
            CacheRoots::from_env(&|n| (n == name).then(|| value.into()), Some(home)).hugging_face
        };
        assert_eq!(with("", ""), [Path::new("/home/u/.cache/huggingface/hub")]);
        assert_eq!(with("HF_HUB_CACHE", "/big/hub"), [Path::new("/big/hub")]);
        assert_eq!(with("HF_HOME", "/big"), [Path::new("/big/hub")]);
        assert_eq!(with("HF_HOME", ""), [Path::new("/home/u/.cache/huggingface/hub")]);
        assert_eq!(with("XDG_CACHE_HOME", "/x"), [Path::new("/x/huggingface/hub")]);
        assert_eq!(CacheRoots::from_env(&|_| None, None), CacheRoots::default());
    }

    #[test]
    fn models_of_both_keepers_are_found() {
        let home = tempdir().unwrap();
        let hub = home.path().join(".cache/huggingface/hub");
        let repo = hub.join("models--mlx-community--Qwen3-8B-4bit");
        let snapshot = repo.join("snapshots").join(COMMIT);
        write(&repo, "refs/main", COMMIT.as_bytes());
        write(&snapshot, "config.json", br#"{"quantization":{"bits":4,"group_size":64}}"#);
        write(&repo, "blobs/aa", &safetensors(&ONE_LAYER));
        std::os::unix::fs::symlink("../../blobs/aa", snapshot.join("model.safetensors")).unwrap();
        // An older snapshot, a dataset and a stray file are passed over.
        write(&repo.join("snapshots/0000"), "config.json", b"{}");
        write(&hub, "datasets--a--b/snapshots/1/config.json", b"{}");
        write(&hub, "version.txt", b"1");
        let studio = home.path().join(".lmstudio/models");
        write(&studio, "lmstudio-community/gemma-GGUF/gemma-Q4_K_M.gguf", b"12345");
        write(&studio, "lmstudio-community/gemma-GGUF/mmproj-gemma.gguf", b"1");
        write(&studio, "lmstudio-community/big-GGUF/big-00001-of-00002.gguf", b"123");
        write(&studio, "lmstudio-community/big-GGUF/big-00002-of-00002.gguf", b"1234");
        write(&studio, "mlx-community/plain/config.json", b"{}");

        let found = discover(&roots(home.path()));
        assert_eq!(found.problems, Vec::<String>::new());
        let shown: Vec<_> =
            found.models.iter().map(|m| (m.id.as_str(), m.format, m.weight_bytes)).collect();
        let mlx_bytes = safetensors(&ONE_LAYER).len() as u64;
        assert_eq!(
            shown,
            [
                ("lmstudio-community/big-GGUF", LocalFormat::Gguf, 7),
                ("lmstudio-community/gemma-GGUF", LocalFormat::Gguf, 5),
                ("mlx-community/Qwen3-8B-4bit", LocalFormat::Mlx, mlx_bytes),
                ("mlx-community/plain", LocalFormat::ConfigOnly, 0),
            ]
        );
        let one = found.find("qwen3_8b-4BIT");
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].revision.as_deref(), Some(COMMIT));
        assert_eq!(found.find("mlx-community/qwen3-8b-4bit"), one);
        assert!(found.find("qwen3-8b").is_empty());
        assert_eq!(repository_of(&one[0].path).as_deref(), Some("mlx-community/Qwen3-8B-4bit"));
    }

    #[test]
    fn mlx_files_without_a_block_are_known_by_their_metadata() {
        let home = tempdir().unwrap();
        let model = home.path().join(".lmstudio/models/o/m");
        write(&model, "config.json", b"{}");
        write(&model, "model.safetensors", &safetensors(&ONE_LAYER));
        assert_eq!(discover(&roots(home.path())).models[0].format, LocalFormat::Mlx);
        write(&model, "model.safetensors", b"broken");
        assert_eq!(discover(&roots(home.path())).models[0].format, LocalFormat::Safetensors);
    }

    #[test]
    fn without_a_reference_the_newest_snapshot_counts() {
        let home = tempdir().unwrap();
        let repo = home.path().join(".cache/huggingface/hub/models--o--m");
        write(&repo, "snapshots/only/config.json", b"{}");
        let found = discover(&roots(home.path()));
        assert_eq!(found.models[0].revision.as_deref(), Some("only"));
        write(&repo, "refs/main", b"gone\n");
        assert_eq!(discover(&roots(home.path())), found);
    }

    #[test]
    fn no_folders_are_no_models() {
        let home = tempdir().unwrap();
        assert_eq!(discover(&roots(home.path())), Discovery::default());
        assert_eq!(repository_of(Path::new("/a/b/c")), None);
        assert_eq!(
            repository_of(Path::new("/u/.lmstudio/models/org/name")).as_deref(),
            Some("org/name")
        );
    }
}
