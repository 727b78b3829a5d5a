//! The file of a run, as far as the graph of the model does not say it.

use crate::model::gguf::GgufMix;
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

/// Bytes of the tensors of a GGUF file that programs on llama.cpp load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GgufBytes {
    /// The token embedding, where it is not the head as well.
    pub embedding: u64,
    /// The output head, which may be the embedding.
    pub head: u64,
    /// Routed experts.
    pub experts: u64,
    /// Everything else.
    pub rest: u64,
}

impl GgufBytes {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.embedding + self.head + self.experts + self.rest
    }
}

/// What a model does with a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PromptUse {
    /// It generates text.
    #[default]
    Generates,
    /// It embeds the prompt: nothing is generated.
    Embeds,
    /// It scores the prompt or sorts it into classes: nothing is generated.
    Judges,
}

impl PromptUse {
    /// What such a model is, where it generates nothing.
    #[must_use]
    pub const fn what(self) -> Option<&'static str> {
        match self {
            Self::Generates => None,
            Self::Embeds => Some("an embedding model"),
            Self::Judges => Some("a reward model or classifier"),
        }
    }
}

/// A file of weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ModelFile {
    /// Format of the GGUF file for programs that run those; `None` takes the one closest to the graph's bits per weight.
    pub gguf: Option<GgufMix>,
    /// Bytes of the tensors of a GGUF file that was read.
    pub stored: Option<GgufBytes>,
    /// What decided the format.
    pub origin: FormatOrigin,
    /// Lowest and highest bytes of the weights over those of the graph, where only the file tells them.
    pub weights_range: Option<[f64; 2]>,
    /// Whether activations are 16-bit IEEE floats rather than bfloat16, where that is not as the graph says.
    pub fp16: Option<bool>,
    /// Whether the graph is a plain decoder in place of a model that is not known.
    pub stand_in: bool,
    /// What the model does with a prompt.
    pub purpose: PromptUse,
}
