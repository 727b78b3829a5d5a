//! Speed of a model on a machine: decode and prefill with intervals, terms and evidence.
//!
//! [`Speed`] holds a model's features and can be evaluated for any machine and depth in microseconds; [`decode()`] and
//! [`prefill()`] are the short way for one prediction.

mod decode;
mod evidence;
mod prefill;

pub use decode::{AtDepth, Decode};
pub use evidence::Evidence;
pub use prefill::Prefill;

use crate::graph::Graph;
use crate::graph::cache::KvQuantisation;
use crate::hardware::Machine;
use crate::model::gguf_mix::GgufMix;
use crate::roofline::features::FeatureError;
use crate::roofline::{Bound, Coefficients, Program, Silicon, StepFeatures};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// Engine that a prediction is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, JsonSchema, Serialize)]
pub enum Engine {
    /// mlx-lm in process.
    #[default]
    #[serde(rename = "mlx")]
    Mlx,
    /// llama.cpp.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// Ollama.
    #[serde(rename = "ollama")]
    Ollama,
}

impl Engine {
    /// The engine's name on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mlx => "mlx",
            Self::LlamaCpp => "llama.cpp",
            Self::Ollama => "ollama",
        }
    }

    /// The program whose speed is predicted.
    #[must_use]
    pub const fn program(self) -> Program {
        match self {
            Self::Mlx => Program::MlxLm,
            Self::LlamaCpp => Program::LlamaCpp,
            Self::Ollama => Program::Ollama,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Mlx, Self::LlamaCpp, Self::Ollama]
            .into_iter()
            .find(|e| e.name() == text)
            .ok_or_else(|| format!("unknown engine '{text}'; known: mlx, llama.cpp, ollama"))
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpeedRequest {
    /// Tokens of the prompt, which are in the cache when decoding starts.
    pub context_tokens: u32,
    /// Tokens generated.
    pub generate_tokens: u32,
    /// Sequences decoded together.
    pub batch: u32,
    /// Tokens of a prefill chunk.
    pub prefill_step: u32,
    /// Quantisation of the cache, if any.
    pub kv: Option<KvQuantisation>,
    /// Engine.
    pub engine: Engine,
    /// Format of the GGUF file for llama.cpp and Ollama; `None` takes the one closest to the graph's bits per weight.
    pub gguf: Option<GgufMix>,
    /// Whether activations are IEEE half precision, as in older conversions
    /// ([`crate::model::catalogue::Entry::hub_conversions_are_fp16`]); `None` follows the graph. Only M1 and M2 care.
    pub fp16_activations: Option<bool>,
}

impl Default for SpeedRequest {
    fn default() -> Self {
        Self {
            context_tokens: 4096,
            generate_tokens: 256,
            batch: 1,
            prefill_step: crate::ledger::cache::PREFILL_STEP,
            kv: None,
            engine: Engine::Mlx,
            gguf: None,
            fp16_activations: None,
        }
    }
}

/// A part of a time.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Term {
    /// What the time goes to.
    pub name: &'static str,
    /// Seconds.
    pub seconds: f64,
    /// What sets the pace of it.
    pub bound: Bound,
}

/// A model's features for an engine, ready to be evaluated on any machine.
#[derive(Clone, Debug)]
pub struct Speed {
    features: StepFeatures,
    model_type: String,
    engine: Engine,
    kv_quantised: bool,
    remarks: Vec<String>,
}

impl Speed {
    /// Reads the features of a model for an engine. This traces the model (about 3 ms).
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn of(graph: &Graph, request: &SpeedRequest) -> Result<Self, FeatureError> {
        let mut remarks = Vec::new();
        let mut features = if request.engine.program().runs_gguf() {
            let mix = request.gguf.unwrap_or_else(|| {
                let mix = GgufMix::nearest(graph.bits_per_weight());
                remarks.push(format!("the weights are taken as a GGUF file of format {mix}"));
                mix
            });
            if request.kv.is_some() {
                remarks.push(format!(
                    "the effect of a quantised cache on {} is not modelled",
                    request.engine
                ));
            }
            StepFeatures::of_gguf(graph, mix)?
        } else {
            StepFeatures::of(graph, request.kv)?
        };
        if let Some(fp16) = graph.fp16_activations() {
            features.fp16 = fp16;
        }
        Ok(Self {
            features,
            model_type: graph.model_type().to_owned(),
            engine: request.engine,
            kv_quantised: request.kv.is_some(),
            remarks,
        })
    }

    /// The features.
    #[must_use]
    pub fn features(&self) -> &StepFeatures {
        &self.features
    }
}

/// Decode speed of a model on a machine.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn decode(
    coefficients: &Coefficients,
    graph: &Graph,
    machine: &Machine,
    request: &SpeedRequest,
) -> Result<Decode, FeatureError> {
    Ok(Speed::of(graph, request)?.decode(coefficients, &Silicon::of(machine), request))
}

/// Prefill speed and time to first token of a model on a machine.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn prefill(
    coefficients: &Coefficients,
    graph: &Graph,
    machine: &Machine,
    request: &SpeedRequest,
) -> Result<Prefill, FeatureError> {
    Ok(Speed::of(graph, request)?.prefill(coefficients, &Silicon::of(machine), request))
}

#[cfg(test)]
mod tests;
