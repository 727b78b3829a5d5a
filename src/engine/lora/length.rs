//! How many tokens a sample has: by the model's own tokenizer, or from its characters.

use super::config::SampleFields;
use crate::engine::text::{Text, TextError};
use serde_json::{Map, Value, json};

/// Characters of a token: a middle, and fewest and most. SmolLM2's tokenizer makes a token of 1.9 characters of a table of
/// numbers, 3.2 of source code, 2.3 to 3.9 of technical prose (this project's own files); plain English reaches 4 to 5.
pub const CHARACTERS_PER_TOKEN: [f64; 3] = [2.0, 3.5, 5.0];

/// Tokens that a chat template puts around a message, where they cannot be counted.
const AROUND_MESSAGE: u32 = 4;

/// What counts tokens.
pub enum TokenCounter {
    /// The model's tokenizer and chat template.
    Tokenizer(Box<Text>),
    /// Characters, so many a token.
    Characters(f64),
}

/// What kind of samples a file holds, by its first one (`mlx_lm/tuner/datasets.py`, `create_dataset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// A prompt and its answer.
    Completions,
    /// Messages of a chat.
    Chat,
    /// A text.
    Text,
}

/// The length of a sample in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleLength {
    /// All tokens.
    pub tokens: u32,
    /// Those of the prompt, which `--mask-prompt` leaves out of the loss.
    pub prompt: u32,
}

/// Why a sample has no length.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// A field that its kind has is missing or no text.
    #[error("the field {0} is missing, or not what mlx_lm.lora expects there")]
    Field(String),
    /// The tokenizer or the template refuses it.
    #[error(transparent)]
    Text(#[from] TextError),
}

impl SampleKind {
    /// The kind of a file by its first sample; `None` for one that mlx_lm.lora does not know.
    pub(super) fn of(sample: &Map<String, Value>, fields: &SampleFields) -> Option<Self> {
        let has = |name: &String| sample.contains_key(name);
        if has(&fields.prompt) && has(&fields.completion) {
            Some(Self::Completions)
        } else if has(&fields.chat) {
            Some(Self::Chat)
        } else {
            has(&fields.text).then_some(Self::Text)
        }
    }

    /// The kind in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completions => "prompts and answers",
            Self::Chat => "chats",
            Self::Text => "texts",
        }
    }
}

/// The messages of a sample, and its tools.
fn messages(
    kind: SampleKind,
    sample: &Map<String, Value>,
    fields: &SampleFields,
) -> Result<Vec<Value>, SampleError> {
    let missing = |name: &String| SampleError::Field(format!("\"{name}\""));
    let text = |name: &String| {
        sample.get(name).filter(|v| v.is_string()).cloned().ok_or_else(|| missing(name))
    };
    match kind {
        SampleKind::Chat => {
            let list = sample.get(&fields.chat).and_then(Value::as_array);
            let list = list.filter(|l| !l.is_empty() && l.iter().all(Value::is_object));
            list.cloned().ok_or_else(|| missing(&fields.chat))
        }
        SampleKind::Completions => Ok(vec![
            json!({ "role": "user", "content": text(&fields.prompt)? }),
            json!({ "role": "assistant", "content": text(&fields.completion)? }),
        ]),
        SampleKind::Text => Ok(vec![json!({ "content": text(&fields.text)? })]),
    }
}

fn characters(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(list) => list.iter().map(characters).sum(),
        Value::Object(map) => map.values().map(characters).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

impl TokenCounter {
    /// The length of a sample as `mlx_lm.lora` processes it.
    pub(super) fn length(
        &self,
        kind: SampleKind,
        sample: &Map<String, Value>,
        fields: &SampleFields,
    ) -> Result<SampleLength, SampleError> {
        let messages = messages(kind, sample, fields)?;
        match self {
            Self::Tokenizer(text) => by_tokenizer(text, kind, &messages, sample.get("tools")),
            Self::Characters(each) => Ok(by_characters(*each, kind, &messages)),
        }
    }
}

fn by_characters(each: f64, kind: SampleKind, messages: &[Value]) -> SampleLength {
    let around = if kind == SampleKind::Text { 1 } else { AROUND_MESSAGE };
    let of = |message: &Value| {
        let content = characters(&message["content"]) + characters(&message["tool_calls"]);
        (content as f64 / each).ceil() as u32 + around
    };
    let lengths: Vec<u32> = messages.iter().map(of).collect();
    let prompt = lengths.split_last().map_or(0, |(_, before)| before.iter().sum());
    SampleLength { tokens: lengths.iter().sum(), prompt }
}

fn by_tokenizer(
    text: &Text,
    kind: SampleKind,
    messages: &[Value],
    tools: Option<&Value>,
) -> Result<SampleLength, SampleError> {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    if kind == SampleKind::Text {
        let content = messages.first().and_then(|m| m["content"].as_str()).unwrap_or_default();
        return Ok(SampleLength { tokens: count(text.encode_ended(content)?.len()), prompt: 0 });
    }
    let Some((last, before)) = messages.split_last() else {
        return Ok(SampleLength { tokens: 0, prompt: 0 });
    };
    let tokens = count(text.encode_chat(messages, tools, false)?.len());
    let answers = last["role"] == "assistant";
    // Templates may refuse a chat without a message; then there is no prompt.
    let prompt = match before {
        [] => 0,
        before => count(text.encode_chat(before, tools, answers)?.len()),
    };
    Ok(SampleLength { tokens, prompt })
}
