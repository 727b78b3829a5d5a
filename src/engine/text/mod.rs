//! Text to tokens and back: the tokenizer, the chat template and the stop tokens of a model folder.

#[cfg(not(feature = "tokenizer"))]
mod absent;
#[cfg(feature = "tokenizer")]
mod codec;

use crate::files;
#[cfg(not(feature = "tokenizer"))]
use absent::Absent as Codec;
#[cfg(feature = "tokenizer")]
use codec::Codec;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Longest tokenizer or template file that is read, in bytes. Those of vocabularies with 260 000 tokens take 35 MB.
const MAX_FILE_BYTES: u64 = 256_000_000;

/// Why a text cannot be turned into tokens, or tokens into text.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A file is missing or unreadable.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The tokenizer refuses the text.
    #[error("the tokenizer cannot encode this text: {0}")]
    Encode(String),
    /// The tokenizer refuses the tokens.
    #[error("the tokenizer cannot decode these tokens: {0}")]
    Decode(String),
    /// The chat template fails.
    #[error("the chat template of this model fails: {0}")]
    Template(String),
    /// This program cannot read tokenizers.
    #[error("this mlxplan was built without tokenizers, the feature `tokenizer`")]
    LeftOut,
}

/// A model's tokenizer with all that surrounds it.
pub struct Text {
    codec: Codec,
    template: Option<String>,
    stop: Vec<u32>,
    bos: String,
    eos: String,
}

impl Text {
    /// Reads `tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja` and the stop tokens of a model folder.
    ///
    /// # Errors
    /// When there is no `tokenizer.json`, or a file is no such file.
    pub fn load(folder: &Path) -> Result<Self, TextError> {
        let path = folder.join("tokenizer.json");
        let Some(bytes) = read(&path)? else {
            let reason = "not there; mlxplan reads this format only, which \
                          `transformers.AutoTokenizer.save_pretrained` writes"
                .to_owned();
            return Err(TextError::File { path, reason });
        };
        let codec = Codec::read(&bytes, path)?;
        let settings = json_file(&folder.join("tokenizer_config.json"))?;
        let config = json_file(&folder.join("config.json"))?;
        let generation = json_file(&folder.join("generation_config.json"))?;
        let token = |key: &str| token_text(&settings[key]).unwrap_or_default();
        let mut stop = Vec::new();
        for ids in [&generation["eos_token_id"], &config["eos_token_id"]] {
            stop.extend(ids.as_u64().and_then(|n| u32::try_from(n).ok()));
            let list = ids.as_array().into_iter().flatten();
            stop.extend(list.filter_map(Value::as_u64).filter_map(|n| u32::try_from(n).ok()));
        }
        stop.extend(codec.token(&token("eos_token")));
        stop.sort_unstable();
        stop.dedup();
        let template = match read(&folder.join("chat_template.jinja"))? {
            Some(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            None => template_text(&settings["chat_template"]),
        };
        Ok(Self { codec, template, stop, bos: token("bos_token"), eos: token("eos_token") })
    }

    /// Tokens that end a text.
    #[must_use]
    pub fn stop_tokens(&self) -> &[u32] {
        &self.stop
    }

    /// The tokens of a text, with the special tokens that the tokenizer puts around it unless the text starts with
    /// them.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let special = self.bos.is_empty() || !text.starts_with(&self.bos);
        self.codec.encode(text, special)
    }

    /// The tokens of a text that a model is trained on: the token that ends a text is added where it is missing.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn encode_ended(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let mut tokens = self.encode(text)?;
        let end = self.codec.token(&self.eos);
        if end.is_some() && tokens.last() != end.as_ref() {
            tokens.extend(end);
        }
        Ok(tokens)
    }

    /// The tokens of a chat by the model's template, with what begins an answer if `answers`.
    ///
    /// # Errors
    /// When the model has no template, or it or the tokenizer refuses the chat.
    pub fn encode_chat(
        &self,
        messages: &[Value],
        tools: Option<&Value>,
        answers: bool,
    ) -> Result<Vec<u32>, TextError> {
        let missing = || TextError::Template("there is none".to_owned());
        let template = self.template.as_ref().ok_or_else(missing)?;
        let chat = Chat { messages, tools, answers, ends: [&self.bos, &self.eos] };
        self.codec.encode(&self.codec.chat(template, &chat)?, false)
    }

    /// The text of tokens, without special tokens.
    ///
    /// # Errors
    /// When a token is unknown.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TextError> {
        self.codec.decode(tokens)
    }

    /// The prompt for an answer to `message`: the chat template where the model has one, the bare text otherwise.
    ///
    /// # Errors
    /// When the template fails.
    pub fn prompt(&self, message: &str) -> Result<String, TextError> {
        let Some(template) = &self.template else {
            return Ok(message.to_owned());
        };
        let messages = [json!({ "role": "user", "content": message })];
        let ends = [self.bos.as_str(), &self.eos];
        self.codec.chat(template, &Chat { messages: &messages, tools: None, answers: true, ends })
    }
}

/// What a template is filled with.
struct Chat<'a> {
    messages: &'a [Value],
    tools: Option<&'a Value>,
    /// Whether the beginning of an answer follows.
    answers: bool,
    /// Tokens that begin and end a text.
    ends: [&'a str; 2],
}

/// A file's bytes; `None` when there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, TextError> {
    let wrong = |reason: String| TextError::File { path: path.to_owned(), reason };
    match files::bytes(path, MAX_FILE_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(wrong(e.to_string())),
    }
}

/// A JSON file; null when there is none.
fn json_file(path: &Path) -> Result<Value, TextError> {
    match read(path)? {
        None => Ok(Value::Null),
        Some(bytes) => serde_json::from_slice(&bytes)
            .map_err(|e| TextError::File { path: path.to_owned(), reason: e.to_string() }),
    }
}

/// A special token: a text, or an object with it.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}

/// A template, or the one called `default` of a list.
fn template_text(value: &Value) -> Option<String> {
    let list = value.as_array().into_iter().flatten();
    let named = list.filter(|t| t["name"] == "default").find_map(|t| t["template"].as_str());
    value.as_str().or(named).map(str::to_owned)
}

#[cfg(all(test, feature = "tokenizer"))]
mod tests {
    use super::*;
    use std::fs;

    const TOKENIZER: &str = r#"{ "version": "1.0", "model": { "type": "WordLevel", "vocab":
        { "hello": 0, "world": 1, "</s>": 2, "[UNK]": 3 }, "unk_token": "[UNK]" },
        "pre_tokenizer": { "type": "Whitespace" } }"#;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("writable");
        }
        folder
    }

    #[test]
    fn texts_become_tokens_and_prompts() {
        let folder = folder(&[
            ("tokenizer.json", TOKENIZER),
            ("config.json", r#"{ "eos_token_id": [2, 7] }"#),
            (
                "tokenizer_config.json",
                r#"{ "eos_token": { "content": "</s>" }, "chat_template":
                "{% for m in messages %}[{{ m.role.upper() }}] {{ m['content'].strip() }}{{ eos_token }}{% endfor %}" }"#,
            ),
        ]);
        let text = Text::load(folder.path()).expect("a tokenizer");
        assert_eq!(text.encode("hello world").expect("known"), [0, 1]);
        assert_eq!(text.decode(&[1, 0]).expect("known"), "world hello");
        assert_eq!(text.stop_tokens(), [2, 7]);
        assert_eq!(text.prompt(" hello ").expect("a template"), "[USER] hello</s>");
    }

    #[test]
    fn wrong_files_are_named() {
        let empty = folder(&[]);
        let error = Text::load(empty.path()).err().expect("no tokenizer").to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
        let unknown = folder(&[("tokenizer.json", r#"{ "model": { "type": "Magic" } }"#)]);
        let error = Text::load(unknown.path()).err().expect("unknown").to_string();
        assert!(error.contains("no known tokenizer"), "{error}");
        let raises = folder(&[
            ("tokenizer.json", TOKENIZER),
            ("chat_template.jinja", "{{ raise_exception('roles must alternate') }}"),
        ]);
        let text = Text::load(raises.path()).expect("a tokenizer");
        let error = text.prompt("hello").expect_err("raises").to_string();
        assert!(error.contains("roles must alternate"), "{error}");
    }
}
