//! One generation as it was observed, before anything is computed from it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who said a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatRole {
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl ChatRole {
    /// As protocols spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// What an engine is asked for.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The conversation.
    pub messages: Vec<(ChatRole, String)>,
    /// Tokens to generate at most.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Whether tokens are sent as they are generated.
    pub stream: bool,
    /// Go on behind the end-of-sequence token, where the engine can be told so.
    pub ignore_eos: bool,
    /// Context to ask for, in tokens, from an engine that sizes it by the request.
    pub context_tokens: Option<u32>,
}

impl Prompt {
    /// A single streamed question with greedy sampling.
    #[must_use]
    pub fn user(text: impl Into<String>, max_tokens: u32) -> Self {
        Self {
            messages: vec![(ChatRole::User, text.into())],
            max_tokens,
            temperature: 0.0,
            stream: true,
            ignore_eos: true,
            context_tokens: None,
        }
    }
}

/// Who counted the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountSource {
    /// The `usage` object of an OpenAI-compatible answer.
    Usage,
    /// The `timings` object of llama.cpp.
    Timings,
    /// `eval_count` and `prompt_eval_count` of Ollama.
    Ollama,
    /// The server's tokenizer, applied to the generated text afterwards.
    ServerTokenizer,
    /// The model's tokenizer on this machine, applied to the generated text afterwards.
    LocalTokenizer,
    /// The engine in this process, which samples the tokens itself.
    Engine,
    /// The options of `mlx_lm.benchmark`, which generates exactly as many tokens as it is told.
    Requested,
}

/// Token counts of the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tokens of the prompt, with the chat template, cached ones included.
    pub prompt: Option<u32>,
    /// Tokens of the prompt that were found in a cache.
    pub cached: Option<u32>,
    /// Tokens generated.
    pub generated: Option<u32>,
    /// Who counted.
    pub source: Option<CountSource>,
}

/// What the engine itself says about its speed. Its definitions differ from mlxplan's and are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct OwnTimings {
    /// Time to load the model for this request, seconds.
    pub load_s: Option<f64>,
    /// Tokens of the prompt that were processed.
    pub prefill_tokens: Option<u32>,
    /// Time to process them, seconds.
    pub prefill_s: Option<f64>,
    /// Tokens of the generation.
    pub decode_tokens: Option<u32>,
    /// Time to generate them, seconds.
    pub decode_s: Option<f64>,
}

/// One generation. Times are seconds since the request was sent.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    /// Arrival of every piece of text, in order; empty when the answer was not streamed.
    pub arrivals_s: Vec<f64>,
    /// Arrival of the piece that said why generation ended.
    pub finished_s: Option<f64>,
    /// Arrival of the last byte.
    pub total_s: f64,
    /// `stop`, `length`, …
    pub finish_reason: Option<String>,
    /// The engine's counts.
    pub counts: Counts,
    /// Further counts in the same answer that should agree with `counts.generated`.
    pub other_generated: Option<u32>,
    /// The engine's own timings.
    pub own: OwnTimings,
    /// The generated text.
    pub text: String,
    /// Version of the engine, where the answer carries one.
    pub fingerprint: Option<String>,
    /// The model that answered, as the engine calls it.
    pub model: Option<String>,
}
