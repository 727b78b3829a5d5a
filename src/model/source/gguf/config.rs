//! A model configuration from GGUF metadata.
//!
//! llama.cpp's converter (`convert_hf_to_gguf.py`) writes the values of `config.json` under the keys of
//! `gguf-py/gguf/constants.py`; this goes back. What the metadata leaves out is read off the tensors: the vocabulary
//! from the rows of the embedding, a tied head from the absence of `output.weight`, biases from their tensors. The
//! result is a configuration as mlx-lm 0.32.2 reads it. Keys without influence on sizes and speed are left out.

use super::GgufInfo;
use super::architectures::{MAPPINGS, Mapping, NO_GENERATION, STAND_IN};
use super::metadata::{GgufMetadata, Keys};
use crate::model::config::Config;
use serde_json::json;

/// Maps the metadata of a well-known architecture.
pub(super) fn to_config(info: &GgufInfo) -> Result<Config, String> {
    let Some(architecture) = info.architecture() else {
        return Err("the file has no key general.architecture".to_owned());
    };
    let Some(mapping) = MAPPINGS.iter().find(|m| m.architecture == architecture) else {
        return Err(format!("no model is known here for the GGUF architecture '{architecture}'"));
    };
    map(info, architecture, mapping)
}

/// A plain decoder of the same shape, for an architecture without a mapping.
pub(super) fn stand_in(info: &GgufInfo) -> Result<Config, String> {
    let Some(architecture) = info.architecture() else {
        return Err("the file has no key general.architecture".to_owned());
    };
    map(info, architecture, &STAND_IN)
}

/// What a file is that holds no language model to generate with.
pub(super) fn no_generation(info: &GgufInfo) -> Option<&'static str> {
    let architecture = info.architecture()?;
    NO_GENERATION.iter().find(|(name, _)| *name == architecture).map(|(_, what)| *what)
}

fn map(info: &GgufInfo, architecture: &str, mapping: &Mapping) -> Result<Config, String> {
    let source = GgufMetadata::new(info, architecture);
    let mut values = source.common()?;
    let model_type = (mapping.own_keys)(&source, &mut Keys::new(&mut values))?;
    values.insert("model_type".to_owned(), json!(model_type));
    Ok(Config::new(values))
}
