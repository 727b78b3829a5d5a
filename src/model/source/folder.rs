//! A local model folder: `config.json`, safetensors files, tokenizer.

use super::error::SourceError;
use super::layout::{CONFIG_FILE, INDEX_FILE};
use super::note::SourceNote;
use super::safetensors::read_header;
use super::shards::{
    MAX_INDEX_BYTES, MAX_SHARDS, ShardIndex, assemble, missing_by_number, parse_shard_index,
};
use super::tensors::{TensorFile, TensorIndex};
use super::{ModelSource, Origin, display_name, read_beside, read_config, read_text};
use crate::files;
use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::Path;

/// Any of these is a tokenizer.
const TOKENIZERS: [&str; 5] =
    ["tokenizer.json", "tokenizer.model", "tokenizer_config.json", "tekken.json", "tiktoken.model"];

/// Reads a model folder. Weights are optional; where there are any, all their headers must be right.
///
/// # Errors
/// When the folder has no `config.json`, a file cannot be read or is wrong, or a shard is missing.
pub fn load(path: &Path) -> Result<ModelSource, SourceError> {
    let names = file_names(path)?;
    if !names.contains(CONFIG_FILE) {
        let gguf = names.iter().find(|n| n.ends_with(".gguf"));
        let problem = match gguf {
            Some(name) => format!("it has no config.json; for the GGUF file give {name} itself"),
            None => "it has no config.json".to_owned(),
        };
        return Err(SourceError::NotAModel { path: path.to_owned(), problem });
    }
    let config = read_config(&path.join(CONFIG_FILE))?;
    let weights = weight_files(path, &names)?;
    let origin = Origin::Folder { path: path.to_owned(), files: weights.names.len() };
    let mut source = ModelSource::bare(folder_name(path), origin, config).map_err(|error| {
        SourceError::Config { file: path.join(CONFIG_FILE).display().to_string(), error }
    })?;
    source.beside = read_beside(path)?;
    if !weights.unlisted.is_empty() {
        source.notes.push(SourceNote::Unlisted(weights.unlisted.clone()));
    }
    if !TOKENIZERS.iter().any(|name| names.contains(*name)) {
        source.notes.push(SourceNote::NoTokenizer);
    }
    let stated = weights.index.as_ref().and_then(|index| index.total_bytes);
    if weights.names.is_empty() {
        source.notes.push(SourceNote::NoWeights);
        let listed = stated.map(|total_bytes| SourceNote::IndexWithoutFiles { total_bytes });
        source.notes.extend(listed);
        return Ok(source);
    }
    let tensors = read_headers(path, &weights)?;
    let found = tensors.total_bytes();
    if let Some(stated) = stated.filter(|&stated| stated != found && weights.unlisted.is_empty()) {
        source.notes.push(SourceNote::TotalDisagrees { stated, found });
    }
    source.with_tensors(tensors, &path.display().to_string())
}

/// The weight files of a folder.
struct Weights {
    names: Vec<String>,
    index: Option<ShardIndex>,
    /// Files among `names` that the index leaves out.
    unlisted: Vec<String>,
}

/// Which files mlx-lm would load: those of the index and every `model*.safetensors`. Without either, any safetensors file.
fn weight_files(path: &Path, names: &BTreeSet<String>) -> Result<Weights, SourceError> {
    let safetensors = |prefix: &str| -> Vec<String> {
        let fits = |n: &&String| n.starts_with(prefix) && n.ends_with(".safetensors");
        names.iter().filter(fits).cloned().collect()
    };
    let loaded = safetensors("model");
    if !names.contains(INDEX_FILE) {
        let files = if loaded.is_empty() { safetensors("") } else { loaded };
        if let Some(shard) = missing_by_number(&files) {
            return Err(SourceError::MissingShard { place: path.display().to_string(), shard });
        }
        return Ok(Weights { names: files, index: None, unlisted: Vec::new() });
    }
    let file = path.join(INDEX_FILE);
    let text = read_text(&file, MAX_INDEX_BYTES, "list of shards")?;
    let index = parse_shard_index(&text)
        .map_err(|problem| SourceError::ShardIndex { file: file.display().to_string(), problem })?;
    // A folder with the index but no weights at all is a download of the small files only.
    if loaded.is_empty() && !index.files.iter().any(|f| names.contains(f)) {
        return Ok(Weights { names: Vec::new(), index: Some(index), unlisted: Vec::new() });
    }
    if let Some(shard) = index.files.iter().find(|f| !names.contains(*f)) {
        let place = path.display().to_string();
        return Err(SourceError::MissingShard { place, shard: shard.clone() });
    }
    let unlisted: Vec<String> =
        loaded.into_iter().filter(|name| index.files.binary_search(name).is_err()).collect();
    let names = index.files.iter().chain(&unlisted).cloned().collect();
    Ok(Weights { names, index: Some(index), unlisted })
}

fn read_headers(path: &Path, weights: &Weights) -> Result<TensorIndex, SourceError> {
    let mut headers = Vec::new();
    for name in &weights.names {
        let place = path.join(name);
        let file = files::open(&place).map_err(|e| SourceError::io(&place, e))?;
        let bytes = file.metadata().map_err(|e| SourceError::io(&place, e))?.len();
        let header = read_header(BufReader::new(file), bytes)
            .map_err(|error| SourceError::Header { file: place.display().to_string(), error })?;
        headers.push((TensorFile { name: name.clone(), bytes: Some(bytes) }, header));
    }
    assemble(&path.display().to_string(), headers, weights.index.as_ref())
}

fn file_names(path: &Path) -> Result<BTreeSet<String>, SourceError> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(path).map_err(|e| SourceError::io(path, e))? {
        let entry = entry.map_err(|e| SourceError::io(path, e))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.insert(name);
        }
        if names.len() > 2 * MAX_SHARDS {
            let problem = format!("it has more than {} files", 2 * MAX_SHARDS);
            return Err(SourceError::NotAModel { path: path.to_owned(), problem });
        }
    }
    Ok(names)
}

/// The name to show for a folder. In a Hugging Face cache the folder is called after the commit.
fn folder_name(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    super::cache::repository_of(&full).unwrap_or_else(|| display_name(&full))
}

#[cfg(test)]
mod tests;
