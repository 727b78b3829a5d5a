//! The file of a run, as far as the graph of the model does not say it.

use crate::model::gguf_mix::GgufMix;
use schemars::JsonSchema;
use serde::Serialize;

/// What decided the format of the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatOrigin {
    /// Stored tensors.
    File,
    /// A format in the name, or asked for beside it.
    Name,
    /// The format that the model was published in.
    Native,
    /// What the engine takes where nothing is said.
    EngineDefault,
    /// A guess.
    #[default]
    Assumed,
}

/// A file of weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ModelFile {
    /// Format of the GGUF file for programs that run those; `None` takes the one closest to the graph's bits per weight.
    pub gguf: Option<GgufMix>,
    /// Bytes of the tensors of a GGUF file that was read.
    pub stored_bytes: Option<u64>,
    /// What decided the format.
    pub origin: FormatOrigin,
    /// Lowest and highest bytes of the weights over those of the graph, where only the file tells them.
    pub weights_range: Option<[f64; 2]>,
}
