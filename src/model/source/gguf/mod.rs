//! GGUF files: sizes, quantization and, for well-known architectures, a configuration.

mod architectures;
mod config;
mod error;
pub(in crate::model) mod file_name;
mod metadata;
mod reader;
mod values;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use crate::model::gguf::{GgmlType, file_type_name};
pub use error::GgufError;
pub use values::{GgufValue, Metadata};

use super::error::SourceError;
use crate::files;
use crate::model::config::Config;
use crate::run::GgufBytes;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Arrays with more items keep their length only.
pub const KEPT_ITEMS: u64 = 4096;
/// Most files of a split model (five digits in their names).
const MAX_SPLITS: u64 = 99_999;

impl GgufError {
    fn wrong(text: String) -> Self {
        Self::Wrong(text)
    }

    fn read(error: std::io::Error, what: &str) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::Truncated(reader::shorten(what)),
            _ => Self::Io(error),
        }
    }
}

/// One tensor of a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufTensor {
    /// Name, for example `blk.0.ffn_down.weight`.
    pub name: String,
    /// Dimensions in ggml's order: the contiguous one first, so a matrix is `[columns, rows]`.
    pub dims: Vec<u64>,
    /// Type.
    pub kind: GgmlType,
    /// Number of weights.
    pub weights: u64,
    /// Size in bytes, by the type's block size.
    pub bytes: u64,
    /// First byte, counted from the start of the data.
    pub offset: u64,
}

/// The tensors of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeShare {
    /// The type.
    pub kind: GgmlType,
    /// Bytes of all tensors of the type.
    pub bytes: u64,
    /// Number of tensors.
    pub tensors: usize,
}

/// The header of a GGUF model, possibly of several files.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufInfo {
    /// Version of the format: 2 or 3.
    pub version: u32,
    /// Metadata of the (first) file.
    pub metadata: Metadata,
    /// Tensors of all files, sorted by name.
    pub tensors: Vec<GgufTensor>,
    /// Bytes before the data of the (first) file.
    pub data_start: u64,
    /// The files, in order. Empty when only a header was parsed.
    pub files: Vec<PathBuf>,
}

impl GgufInfo {
    /// Parses a header. `file_bytes` is the length of the whole file; without it, as for a header that was cut out
    /// of a file, the tensors' place in the data is not checked against the end of the file.
    ///
    /// # Errors
    /// When the header is wrong, or the data is shorter than the tensors need.
    pub fn parse_header(reader: impl Read, file_bytes: Option<u64>) -> Result<Self, GgufError> {
        let raw = reader::read(reader)?;
        let mut order: Vec<&GgufTensor> = raw.tensors.iter().collect();
        order.sort_by_key(|t| (t.offset, t.bytes));
        let mut end = 0;
        for tensor in order {
            if tensor.offset < end && tensor.bytes > 0 {
                return Err(GgufError::wrong(format!(
                    "the data of tensor {} overlaps that of another; a fork of llama.cpp may have made the file",
                    reader::shorten(&tensor.name)
                )));
            }
            end = end.max(tensor.offset.saturating_add(tensor.bytes));
        }
        let needed = raw.data_start.saturating_add(end);
        if let Some(actual) = file_bytes.filter(|n| end > 0 && needed > *n) {
            return Err(GgufError::wrong(format!(
                "its tensors need {needed} bytes and the file has {actual}; it is cut off"
            )));
        }
        let mut tensors = raw.tensors;
        sort_tensors(&mut tensors)?;
        Ok(Self {
            version: raw.version,
            metadata: raw.metadata,
            tensors,
            data_start: raw.data_start,
            files: Vec::new(),
        })
    }

    /// Opens a `.gguf` file; of a split model any of its files, and the others are read too.
    ///
    /// # Errors
    /// When a file is absent, wrong or cut off.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let mut info = open_one(path)?;
        let count = info.metadata.whole("split.count").unwrap_or(1);
        if count > 1 {
            let paths = split_paths(path, count)
                .map_err(|error| SourceError::Gguf { path: path.to_owned(), error })?;
            let mut parts = paths.iter().map(|part| open_one(part));
            // A split model has at least two parts, and the first one holds the metadata.
            info = parts.next().unwrap_or_else(|| open_one(path))?;
            for part in parts {
                info.tensors.extend(part?.tensors);
            }
            sort_tensors(&mut info.tensors)
                .map_err(|error| SourceError::Gguf { path: path.to_owned(), error })?;
            info.files = paths;
        }
        Ok(info)
    }

    /// The headers of the files of a split model as one, the first file in front: it holds the metadata.
    pub(in crate::model::source) fn joined(parts: Vec<Self>) -> Result<Self, GgufError> {
        let mut parts = parts.into_iter();
        let Some(mut whole) = parts.next() else {
            return Err(GgufError::wrong("there is no file".to_owned()));
        };
        for part in parts {
            whole.tensors.extend(part.tensors);
        }
        sort_tensors(&mut whole.tensors)?;
        Ok(whole)
    }

    /// `general.architecture`: `llama`, `qwen3moe`, …
    #[must_use]
    pub fn architecture(&self) -> Option<&str> {
        self.metadata.text("general.architecture")
    }

    /// A whole number of the architecture's own metadata, for example `block_count`.
    #[must_use]
    pub fn architecture_value(&self, key: &str) -> Option<u64> {
        self.metadata.whole(&format!("{}.{key}", self.architecture()?))
    }

    /// `general.name`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.metadata.text("general.name")
    }

    /// Largest context in tokens that the model was trained for.
    #[must_use]
    pub fn context_length(&self) -> Option<u64> {
        self.architecture_value("context_length")
    }

    /// Tokens of the vocabulary: rows of the embedding, else the tokenizer's list.
    #[must_use]
    pub fn vocabulary(&self) -> Option<u64> {
        let rows = self.tensor("token_embd.weight").and_then(|t| t.dims.get(1)).copied();
        rows.or_else(|| self.metadata.array_length("tokenizer.ggml.tokens"))
    }

    /// The tensor of that name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        let at = self.tensors.binary_search_by(|t| t.name.as_str().cmp(name)).ok()?;
        self.tensors.get(at)
    }

    /// Bytes of all tensors.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.tensors.iter().fold(0, |sum, t| sum.saturating_add(t.bytes))
    }

    /// Bytes of the tensors that llama.cpp loads to generate: all but the prediction layers behind the last one, which
    /// it skips unless it drafts with them.
    #[must_use]
    pub fn loaded(&self) -> GgufBytes {
        let tied = self.tensor("output.weight").is_none();
        let mut bytes = GgufBytes::default();
        for tensor in self.loaded_tensors() {
            let part = match tensor.name.as_str() {
                "token_embd.weight" if !tied => &mut bytes.embedding,
                "token_embd.weight" | "output.weight" => &mut bytes.head,
                name if name.contains("_exps.") => &mut bytes.experts,
                _ => &mut bytes.rest,
            };
            *part = part.saturating_add(tensor.bytes);
        }
        bytes
    }

    /// Parameters of the tensors that llama.cpp loads to generate.
    #[must_use]
    pub fn loaded_parameters(&self) -> u64 {
        self.loaded_tensors().fold(0, |sum, t| sum.saturating_add(t.weights))
    }

    /// The tensors that llama.cpp loads to generate.
    pub fn loaded_tensors(&self) -> impl Iterator<Item = &GgufTensor> {
        let blocks = self.architecture_value("block_count");
        let prediction = self.architecture_value("nextn_predict_layers").unwrap_or(0);
        let layers = blocks.map(|n| n.saturating_sub(prediction));
        self.tensors.iter().filter(move |tensor| {
            let mut words = tensor.name.split('.');
            let layer = words.next().filter(|w| *w == "blk").and_then(|_| words.next());
            let layer = layer.and_then(|n| n.parse::<u64>().ok());
            layer.zip(layers).is_none_or(|(i, n)| i < n)
        })
    }

    /// Number of weights in all tensors.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().fold(0, |sum, t| sum.saturating_add(t.weights))
    }

    /// Bytes per tensor type, largest first.
    #[must_use]
    pub fn by_type(&self) -> Vec<TypeShare> {
        let mut shares: Vec<TypeShare> = Vec::new();
        for tensor in &self.tensors {
            match shares.iter_mut().find(|s| s.kind == tensor.kind) {
                Some(share) => {
                    share.bytes = share.bytes.saturating_add(tensor.bytes);
                    share.tensors += 1;
                }
                None => {
                    shares.push(TypeShare { kind: tensor.kind, bytes: tensor.bytes, tensors: 1 });
                }
            }
        }
        shares.sort_by_key(|share| Reverse(share.bytes));
        shares
    }

    /// The usual name of the quantization: `Q4_K_M` by `general.file_type`, else the type that holds most bytes.
    #[must_use]
    pub fn quantization(&self) -> Option<&'static str> {
        let stated = self.metadata.whole("general.file_type").and_then(file_type_name);
        stated.or_else(|| self.by_type().first().map(|share| share.kind.name()))
    }

    /// Mean bits per weight over all tensors, scales included.
    #[must_use]
    pub fn bits_per_weight(&self) -> f64 {
        self.total_bytes() as f64 * 8.0 / (self.parameters().max(1)) as f64
    }

    /// The configuration that the metadata amounts to, for the architectures of llama.cpp that are known here.
    ///
    /// # Errors
    /// A text that says which key is absent, or that the architecture is not mapped.
    pub fn to_config(&self) -> Result<Config, String> {
        config::to_config(self)
    }

    /// The configuration of a plain decoder with the layers, heads and widths of the metadata, for architectures that
    /// are not known here.
    ///
    /// # Errors
    /// A text that says which key is absent.
    pub fn stand_in(&self) -> Result<Config, String> {
        config::stand_in(self)
    }

    /// What the file is, where it is no language model to generate with: a projector, an encoder, a draft head.
    #[must_use]
    pub fn no_generation(&self) -> Option<&'static str> {
        config::no_generation(self)
    }
}

fn sort_tensors(tensors: &mut [GgufTensor]) -> Result<(), GgufError> {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    match tensors.iter().zip(tensors.iter().skip(1)).find(|(a, b)| a.name == b.name) {
        Some((a, _)) => {
            let name = reader::shorten(&a.name);
            Err(GgufError::wrong(format!("the tensor {name} occurs twice")))
        }
        None => Ok(()),
    }
}

fn open_one(path: &Path) -> Result<GgufInfo, SourceError> {
    let file = files::open(path).map_err(|e| SourceError::io(path, e))?;
    let bytes = file.metadata().map_err(|e| SourceError::io(path, e))?.len();
    let mut info = GgufInfo::parse_header(BufReader::new(file), Some(bytes))
        .map_err(|error| SourceError::Gguf { path: path.to_owned(), error })?;
    info.files.push(path.to_owned());
    Ok(info)
}

/// The files of a split model beside `path`, whose name ends in `-00001-of-00003.gguf`.
fn split_paths(path: &Path, count: u64) -> Result<Vec<PathBuf>, GgufError> {
    if count > MAX_SPLITS {
        return Err(GgufError::wrong(format!("split.count is {count}")));
    }
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let (prefix, part) = file_name::split_name(name);
    if part.is_none_or(|(_, total)| total != count) {
        return Err(GgufError::wrong(format!(
            "it is one of {count} parts, but its name does not end in -00001-of-{count:05}.gguf, so the others cannot be found"
        )));
    }
    let part = |i: u64| format!("{prefix}-{i:05}-of-{count:05}.gguf");
    let names: BTreeSet<String> = (1..=count).map(part).collect();
    let paths: Vec<PathBuf> = names.iter().map(|n| path.with_file_name(n)).collect();
    match paths.iter().zip(&names).find(|(p, _)| !p.is_file()) {
        Some((_, name)) => Err(GgufError::MissingPart(name.clone())),
        None => Ok(paths),
    }
}
