//! Where a model's configuration and exact sizes come from: the catalog, a folder, a GGUF file, the hub.
//!
//! Whatever the origin, the result is a [`ModelSource`]: the configuration from which the graph is built and, where
//! there are file headers, the exact tensors and how they are packed. File headers are untrusted: every parser
//! bounds lengths, counts and depth, and allocates only for data that is there.

pub mod cache;
mod error;
pub mod folder;
pub mod gguf;
pub mod hub;
pub mod layout;
mod note;
pub mod packings;
pub mod parts;
pub mod quant_block;
pub mod safetensors;
pub mod shards;
pub mod tensors;
#[cfg(test)]
pub(crate) mod testing;

pub use error::SourceError;
pub use gguf::GgufInfo;
pub use note::SourceNote;
pub use packings::{ModulePacking, ModulePackings};
pub use parts::{CheckpointPart, PartBytes, part_of};
pub use quant_block::{QuantBlock, WeightFormat};
pub use tensors::{TensorFile, TensorIndex, TensorInfo};

use crate::files;
use crate::model::catalog::ModelEntry;
use crate::model::config::{Config, ConfigError};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Longest `config.json` that is read, in bytes. Per-module quantization of a large model takes about 1 MB.
pub const MAX_CONFIG_BYTES: u64 = 32_000_000;

/// A model, wherever it came from.
#[derive(Clone, Debug)]
pub struct ModelSource {
    /// Name to show: a repository, a folder's name, a file's name.
    pub name: String,
    /// Where everything below came from.
    pub origin: Origin,
    /// The configuration. Absent only for GGUF files of an architecture without a mapping.
    pub config: Option<Config>,
    /// Whether and by what the weights are quantized, as the configuration says.
    pub format: WeightFormat,
    /// `hf_quant_config.json` beside the configuration, which NVIDIA ModelOpt writes.
    pub beside: Option<Config>,
    /// Tensors by the safetensors headers, where there are any.
    pub tensors: Option<TensorIndex>,
    /// How each module is packed, where there are safetensors headers.
    pub packings: Option<ModulePackings>,
    /// Bytes per part of the model, where there are safetensors headers.
    pub parts: Option<PartBytes>,
    /// The header of a GGUF file.
    pub gguf: Option<GgufInfo>,
    /// Whether quantized conversions on the hub compute in IEEE half precision, where the catalog tells.
    pub hub_fp16: Option<bool>,
    /// Everything the user should know about it.
    pub notes: Vec<SourceNote>,
}

/// Where a model's data came from. Displays as a line of provenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The catalog, with the entry's sources.
    Catalog {
        /// The entry.
        id: String,
        /// Where the entry's values came from.
        sources: Vec<String>,
    },
    /// A bare configuration file.
    ConfigFile(PathBuf),
    /// A folder with a configuration, and weights if `files` is not 0.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Number of safetensors files whose headers were read.
        files: usize,
    },
    /// A GGUF file.
    Gguf(PathBuf),
    /// A GGUF file in a repository on the hub.
    HubGguf {
        /// Address of the repository.
        url: String,
        /// The commit, where the server told it, or the revision that was asked for.
        revision: String,
        /// The file; of a split model the first.
        file: String,
        /// Number of files.
        parts: usize,
    },
    /// A repository on the hub.
    Hub {
        /// Address that was read, for example `https://huggingface.co/Qwen/Qwen3-32B`.
        url: String,
        /// The commit, where the server told it, or the revision that was asked for.
        revision: String,
        /// Number of safetensors files whose headers were read.
        files: usize,
    },
}

impl Origin {
    /// The folder or file with the weights, where that is on this machine.
    #[must_use]
    pub fn place(&self) -> Option<&Path> {
        match self {
            Self::Folder { path, files } if *files > 0 => Some(path),
            Self::Gguf(path) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog { id, sources } => {
                write!(f, "catalog entry {id} ({})", sources.join("; "))
            }
            Self::ConfigFile(path) => write!(f, "{}", path.display()),
            Self::Folder { path, files: 0 } => write!(f, "config.json in {}", path.display()),
            Self::Folder { path, files } => {
                write!(f, "config.json and the {} in {}", headers(*files), path.display())
            }
            Self::Gguf(path) => write!(f, "GGUF header of {}", path.display()),
            Self::HubGguf { url, revision, file, parts: 0 | 1 } => {
                write!(f, "GGUF header of {file} of {url} at {revision}")
            }
            Self::HubGguf { url, revision, file, parts } => {
                write!(f, "GGUF headers of {file} and its {parts} parts of {url} at {revision}")
            }
            Self::Hub { url, revision, files: 0 } => {
                write!(f, "config.json of {url} at {revision}")
            }
            Self::Hub { url, revision, files } => {
                write!(f, "config.json and the {} of {url} at {revision}", headers(*files))
            }
        }
    }
}

fn headers(files: usize) -> String {
    match files {
        1 => "header of 1 weight file".to_owned(),
        n => format!("headers of {n} weight files"),
    }
}

impl ModelSource {
    /// A model without files: configuration only.
    fn bare(name: String, origin: Origin, config: Config) -> Result<Self, ConfigError> {
        let format = WeightFormat::of(&config)?;
        let notes = match &format {
            WeightFormat::Foreign(_) | WeightFormat::Plain | WeightFormat::Mlx(_) => Vec::new(),
        };
        Ok(Self {
            name,
            origin,
            config: Some(config),
            format,
            beside: None,
            tensors: None,
            packings: None,
            parts: None,
            gguf: None,
            hub_fp16: None,
            notes,
        })
    }

    /// The model of a catalog entry. The catalog describes unquantized originals.
    ///
    /// # Errors
    /// When the entry's configuration has a quantization block that MLX does not know.
    pub fn from_entry(entry: &ModelEntry) -> Result<Self, SourceError> {
        let origin = Origin::Catalog { id: entry.id.clone(), sources: entry.sources.clone() };
        let source = Self::bare(entry.id.clone(), origin, entry.config.clone())
            .map_err(|error| SourceError::Config { file: entry.id.clone(), error })?;
        Ok(Self { hub_fp16: Some(entry.hub_conversions_are_fp16()), ..source })
    }

    /// The model of a bare `config.json`.
    ///
    /// # Errors
    /// When the file cannot be read or is no configuration.
    pub fn from_config_file(path: &Path) -> Result<Self, SourceError> {
        let config = read_config(path)?;
        let folder = path.canonicalize().ok().and_then(|p| p.parent().map(Path::to_owned));
        let name = folder.as_deref().map_or_else(|| display_name(path), display_name);
        let source = Self::bare(name, Origin::ConfigFile(path.to_owned()), config)
            .map_err(|error| SourceError::Config { file: path.display().to_string(), error })?;
        let beside = path.parent().map(read_beside).transpose()?.flatten();
        Ok(Self { beside, ..source })
    }

    /// The model of a GGUF file. Without a mapping for its architecture only sizes are known, which a note says.
    ///
    /// # Errors
    /// When the file or a part of it cannot be read or is wrong.
    pub fn from_gguf(path: &Path) -> Result<Self, SourceError> {
        let info = GgufInfo::open(path)?;
        let name = info.name().map_or_else(|| display_name(path), str::to_owned);
        Ok(Self::of_gguf(name, Origin::Gguf(path.to_owned()), info))
    }

    /// The model of a GGUF header.
    fn of_gguf(name: String, origin: Origin, info: GgufInfo) -> Self {
        let (config, notes) = match (info.no_generation(), info.to_config()) {
            (Some(what), _) => {
                (None, vec![SourceNote::gguf_facts(&info, &format!("it is {what}"))])
            }
            (None, Ok(config)) => (Some(config), Vec::new()),
            (None, Err(problem)) => match info.stand_in() {
                Ok(config) => (Some(config), vec![SourceNote::GgufStandIn(problem)]),
                Err(missing) => {
                    let problem = format!("{problem}, and {missing}");
                    (None, vec![SourceNote::gguf_facts(&info, &problem)])
                }
            },
        };
        Self {
            name,
            origin,
            config,
            format: WeightFormat::Foreign("gguf".to_owned()),
            beside: None,
            tensors: None,
            packings: None,
            parts: None,
            gguf: Some(info),
            hub_fp16: None,
            notes,
        }
    }

    /// Adds what the headers of the safetensors files tell. `place` names them in errors.
    fn with_tensors(mut self, tensors: TensorIndex, place: &str) -> Result<Self, SourceError> {
        let block = match &self.format {
            WeightFormat::Mlx(block) => Some(block),
            WeightFormat::Plain | WeightFormat::Foreign(_) => None,
        };
        let packings = ModulePackings::infer(&tensors, block)
            .map_err(|problem| SourceError::Inconsistent { place: place.to_owned(), problem })?;
        let parts = PartBytes::of(&tensors, self.config.as_ref().and_then(layers));
        self.notes.extend(note::about_weights(block, &packings, &parts));
        self.tensors = Some(tensors);
        self.packings = Some(packings);
        self.parts = Some(parts);
        Ok(self)
    }

    /// Bytes of all stored tensors, where headers are known.
    #[must_use]
    pub fn stored_bytes(&self) -> Option<u64> {
        let gguf = self.gguf.as_ref().map(GgufInfo::total_bytes);
        self.tensors.as_ref().map(TensorIndex::total_bytes).or(gguf)
    }
}

/// Number of layers of the language model, by the keys that families use.
fn layers(config: &Config) -> Option<u64> {
    let of = |c: &Config| {
        ["num_hidden_layers", "n_layers", "n_layer", "num_layers"]
            .iter()
            .find_map(|key| c.opt_dim(key).ok().flatten())
    };
    let text = ["text_config", "llm_config", "language_config"]
        .iter()
        .find_map(|key| config.opt_object(key).ok().flatten());
    text.as_ref().and_then(of).or_else(|| of(config))
}

fn display_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// What NVIDIA ModelOpt keeps in a file of its own beside the configuration (mlx-lm, `load_model`).
fn read_beside(folder: &Path) -> Result<Option<Config>, SourceError> {
    let path = folder.join(layout::MODELOPT_FILE);
    if path.is_file() { read_config(&path).map(Some) } else { Ok(None) }
}

fn read_config(path: &Path) -> Result<Config, SourceError> {
    let text = read_text(path, MAX_CONFIG_BYTES, "model configuration")?;
    Config::parse(&text)
        .map_err(|error| SourceError::Config { file: path.display().to_string(), error })
}

/// Reads a text file of at most `limit` bytes.
pub(crate) fn read_text(
    path: &Path,
    limit: u64,
    what: &'static str,
) -> Result<String, SourceError> {
    files::text(path, limit).map_err(|e| match e.kind() {
        ErrorKind::FileTooLarge => SourceError::TooLong { path: path.to_owned(), what, limit },
        _ => SourceError::io(path, e),
    })
}
