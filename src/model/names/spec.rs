//! The kinds of things that `--model` accepts.

use super::error::NameError;
use super::key::{MAX_NAME_BYTES, key, words};
use super::ollama;
use super::size::SizeClass;
use super::suffix::{Suffix, split};
use crate::files;
use crate::model::source::gguf::file_name::split_name;
use crate::model::source::hub::RepoRef;
use crate::model::source::layout::CONFIG_FILE;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What the user named.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelSpec {
    /// A folder with a `config.json`.
    Folder(PathBuf),
    /// A GGUF file.
    Gguf(PathBuf),
    /// A bare `config.json`.
    ConfigFile(PathBuf),
    /// A repository on the hub: `hf:org/name`, `hf:org/name@revision` or its web address.
    Hub(RepoRef),
    /// A name or size class, to be found in the catalog.
    Name(NameSpec),
}

/// A name, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct NameSpec {
    /// What the user typed.
    pub text: String,
    /// The organization in front of the last `/`.
    pub organization: Option<String>,
    /// The name without organization and suffix: words in lower case, joined with `-`.
    pub stem: String,
    /// The quantization suffix.
    pub suffix: Option<Suffix>,
    /// The size class, when the stem is nothing else.
    pub class: Option<SizeClass>,
    /// The name and tag in Ollama's library, when it is spelled as one: `gemma3:27b`.
    pub ollama: Option<String>,
}

impl NameSpec {
    /// Takes a name apart. Nothing is looked up.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let repository = web_address(text).unwrap_or(text);
        let (organization, name) = match repository.trim_end_matches('/').rsplit_once('/') {
            Some((front, name)) => (Some(front.to_owned()), name),
            None => (None, repository),
        };
        let list = words(&join_decimals(name));
        let (count, suffix) = match split(&list) {
            Some((count, suffix)) => (count, Some(suffix)),
            None => (list.len(), None),
        };
        let stem = list.get(..count).unwrap_or(&list).join("-");
        // "30B/A3B": a slash inside a class is a separator like any other.
        let class = SizeClass::parse(&stem).or_else(|| {
            let all = words(text);
            let count = split(&all).map_or(all.len(), |(count, _)| count);
            SizeClass::parse(&all.get(..count).unwrap_or(&all).join("-"))
        });
        let ollama = ollama::tag(repository).map(str::to_owned);
        Self { text: text.to_owned(), organization, stem, suffix, class, ollama }
    }

    /// The name as Ollama reads it: one without a tag has the tag `latest`, where the library has that.
    #[must_use]
    pub fn as_ollama_reads_it(&self) -> Option<Self> {
        ollama::with_tag(&self.text).map(Self::parse)
    }

    /// Whether the organization in front is this one.
    #[must_use]
    pub fn is_of(&self, organization: &str) -> bool {
        self.organization.as_ref().is_some_and(|o| o.eq_ignore_ascii_case(organization))
    }

    /// The text without a web address in front.
    #[must_use]
    pub fn repository(&self) -> &str {
        web_address(&self.text).unwrap_or(&self.text)
    }
}

/// `-4.6bit` with the decimal point as a letter, because points separate words.
fn join_decimals(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let Some(at) = lower.find("bit") else { return name.to_owned() };
    let front = &lower[..at];
    let digits = |text: &str| text.bytes().rev().take_while(u8::is_ascii_digit).count();
    let fraction = digits(front);
    let Some(head) = front[..front.len() - fraction].strip_suffix('.') else {
        return name.to_owned();
    };
    let whole = digits(head);
    let before = head[..head.len() - whole].chars().last();
    let is_number = whole == 1 && (1..=2).contains(&fraction) && matches!(before, Some('-' | '_'));
    if !is_number {
        return name.to_owned();
    }
    format!("{head}p{}", &lower[head.len() + 1..])
}

/// Longest path of macOS and Linux (`PATH_MAX` of Linux; macOS has 1024).
const MAX_PATH_BYTES: usize = 4096;
/// Endings that make a text a path even when nothing of that name exists.
const FILE_ENDINGS: [&str; 3] = [".gguf", ".json", ".safetensors"];

/// Tells what kind of model a text names. Looks at the disk only to see whether a path exists.
///
/// A text is a path when it begins with `/`, `./`, `../` or `~/`, ends like a model file, or names an existing folder with
/// a `config.json` or an existing file; `mlx-community/Qwen3-32B-4bit` is a name unless there is such a folder.
///
/// # Errors
/// When a path does not exist or holds no model, or a repository name is impossible.
pub fn parse_model_spec(text: &str) -> Result<ModelSpec, NameError> {
    let text = text.trim();
    if text.len() > MAX_PATH_BYTES {
        return Err(NameError::TooLong(text.len()));
    }
    if let Some(repository) = hub_address(text) {
        // "hf.co/user/repository:Q4_K_M", as llama.cpp and Ollama take it.
        let tagged = !text.starts_with("hf:") && repository.contains(':');
        return match tagged {
            true => Ok(ModelSpec::Name(NameSpec::parse(repository))),
            false => Ok(ModelSpec::Hub(RepoRef::parse(repository)?)),
        };
    }
    let path = expand_home(text);
    let explicit = ["/", "./", "../", "~/"].iter().any(|prefix| text.starts_with(prefix))
        || matches!(text, "." | ".." | "~");
    let file_like = FILE_ENDINGS.iter().any(|end| ends_with(text, end));
    if explicit || file_like {
        return path_spec(path);
    }
    if !text.is_empty() && (has_config(&path) || path.is_file()) {
        return path_spec(path);
    }
    if key(text).is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong(text.len()));
    }
    Ok(ModelSpec::Name(NameSpec::parse(text)))
}

/// Fronts of web addresses of repositories.
const WEB: [&str; 4] = ["https://huggingface.co/", "https://hf.co/", "huggingface.co/", "hf.co/"];

/// The repository of a web address, without pages of it (`/tree/main`).
fn web_address(text: &str) -> Option<&str> {
    let rest = WEB.iter().find_map(|front| text.strip_prefix(front))?.trim_matches('/');
    let end = rest.match_indices('/').nth(1).map_or(rest.len(), |(at, _)| at);
    rest.get(..end)
}

fn hub_address(text: &str) -> Option<&str> {
    let web = WEB.iter().find_map(|front| text.strip_prefix(front));
    text.strip_prefix("hf:").or(web).map(|rest| rest.trim_start_matches('/'))
}

fn ends_with(text: &str, ending: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.ends_with(ending)
}

fn expand_home(text: &str) -> PathBuf {
    let rest = if text == "~" { Some("") } else { text.strip_prefix("~/") };
    match (rest, std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

fn path_spec(path: PathBuf) -> Result<ModelSpec, NameError> {
    let unsuitable = |path: PathBuf, problem: &str| {
        Err(NameError::UnsuitablePath { path, problem: problem.to_owned() })
    };
    if path.is_dir() {
        return folder_spec(path);
    }
    if !path.exists() {
        return Err(NameError::NoSuchPath(path));
    }
    let name = path.to_string_lossy().into_owned();
    if ends_with(&name, ".gguf") || is_gguf(&path) {
        Ok(ModelSpec::Gguf(path))
    } else if ends_with(&name, ".index.json") {
        unsuitable(path, "this is the list of weight files; give its folder")
    } else if ends_with(&name, ".json") {
        Ok(ModelSpec::ConfigFile(path))
    } else if ends_with(&name, ".safetensors") {
        unsuitable(
            path,
            "weights alone do not say how the model is built; give the folder with config.json",
        )
    } else {
        unsuitable(
            path,
            "not a model; give a folder with config.json, a .gguf file or a config.json",
        )
    }
}

/// Whether a file begins like a GGUF file, as the blobs of Ollama do.
fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = files::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && &magic == b"GGUF"
}

/// Whether a folder has something called `config.json`: what is wrong with one that is no file is said when it is read.
fn has_config(folder: &Path) -> bool {
    folder.join(CONFIG_FILE).symlink_metadata().is_ok()
}

/// A folder with a `config.json`, or with exactly one GGUF model.
fn folder_spec(path: PathBuf) -> Result<ModelSpec, NameError> {
    if has_config(&path) {
        return Ok(ModelSpec::Folder(path));
    }
    let gguf = match gguf_models(&path) {
        Ok(names) => names,
        Err(e) => {
            let problem = format!("the folder cannot be listed: {e}");
            return Err(NameError::UnsuitablePath { path, problem });
        }
    };
    let problem = match gguf.as_slice() {
        [one] => return Ok(ModelSpec::Gguf(path.join(one))),
        [] => "the folder has no config.json and no .gguf file".to_owned(),
        several => {
            format!("the folder has several GGUF models; name one of {}", several.join(", "))
        }
    };
    Err(NameError::UnsuitablePath { path, problem })
}

/// The GGUF models in a folder: of a split model the first file, no projectors of vision models.
fn gguf_models(path: &Path) -> std::io::Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(path)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".gguf") && !name.starts_with("mmproj"))
        .filter(|name| split_name(name).1.is_none_or(|(part, _)| part == 1))
        .collect();
    names.sort();
    Ok(names)
}
