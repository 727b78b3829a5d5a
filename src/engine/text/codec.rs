//! Hugging Face's tokenizers and Jinja templates.

use super::{Chat, TextError};
use minijinja::{Environment, Error, ErrorKind, context};
use std::path::PathBuf;
use tokenizers::Tokenizer;

/// A tokenizer.
pub struct Codec(Tokenizer);

impl Codec {
    /// Reads the text of a `tokenizer.json`, which lies at `path`.
    pub fn read(bytes: &[u8], path: PathBuf) -> Result<Self, TextError> {
        let wrong = |e| TextError::File { path, reason: format!("no known tokenizer: {e}") };
        Tokenizer::from_bytes(bytes).map(Self).map_err(wrong)
    }

    /// The number of a special token.
    pub fn token(&self, text: &str) -> Option<u32> {
        self.0.token_to_id(text)
    }

    /// The tokens of a text, with those that the tokenizer puts around it if `special`.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TextError> {
        let encoding = self.0.encode(text, special);
        Ok(encoding.map_err(|e| TextError::Encode(e.to_string()))?.get_ids().to_vec())
    }

    /// The text of tokens, without special tokens.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TextError> {
        self.0.decode(tokens, true).map_err(|e| TextError::Decode(e.to_string()))
    }

    /// What a chat template makes of messages.
    pub fn chat(&self, template: &str, chat: &Chat<'_>) -> Result<String, TextError> {
        let failed = |e: Error| TextError::Template(format!("{e:#}"));
        let mut env = Environment::new();
        env.set_trim_blocks(true);
        env.set_lstrip_blocks(true);
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.add_function("raise_exception", |text: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, text))
        });
        env.add_template("chat", template).map_err(failed)?;
        let [bos, eos] = chat.ends;
        env.get_template("chat")
            .map_err(failed)?
            .render(context! {
                messages => chat.messages,
                tools => chat.tools,
                add_generation_prompt => chat.answers,
                bos_token => bos,
                eos_token => eos,
            })
            .map_err(failed)
    }
}
