//! Engines behind HTTP: OpenAI-compatible servers and Ollama's native API.

mod address;
mod client;
mod discover;
mod error;
mod ollama;
mod openai;
mod running;
mod sse;

pub use address::Address;
pub use client::{ApiKey, Limits};
pub use discover::{ServedModel, ServerInfo, ServerKind};
pub use error::HttpError;
pub use running::{RunningServer, running_servers, server_at};

use super::failure::Failure;
use super::generation::{CountSource, Generation, Prompt};
use super::generator::Generator;
use client::Client;
use std::sync::OnceLock;

/// A running server with one of its models.
#[derive(Debug)]
pub struct Server {
    client: Client,
    info: ServerInfo,
    /// What only answers tell, from the first of them.
    learned: OnceLock<ServerInfo>,
}

impl Server {
    /// Asks a server what it is, and chooses the model to measure. `model` may be left out when the server has one.
    ///
    /// # Errors
    /// When nothing answers, the server speaks neither protocol, or the model is not among the served ones.
    pub fn connect(
        address: &Address,
        model: Option<&str>,
        key: Option<ApiKey>,
        limits: Limits,
    ) -> Result<Self, HttpError> {
        let client = Client::new(address.clone(), key, limits)?;
        let info = discover::discover(&client, model)?;
        Ok(Self { client, info, learned: OnceLock::new() })
    }

    /// What the server says about itself and the model.
    #[must_use]
    pub fn info(&self) -> &ServerInfo {
        self.learned.get().unwrap_or(&self.info)
    }

    /// The server's address.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.client.address()
    }

    /// Generates once and records what arrived when. Nothing is repeated: a request that fails has failed.
    ///
    /// # Errors
    /// When the connection, the answer or its timing is out of bounds.
    pub fn generate(&self, prompt: &Prompt) -> Result<Generation, HttpError> {
        let generation = match self.info.kind {
            ServerKind::Ollama => ollama::generate(&self.client, &self.info, prompt),
            _ => openai::generate(&self.client, &self.info, prompt),
        }?;
        self.learned.get_or_init(|| self.info.with(&generation));
        Ok(generation)
    }

    /// Removes the model from memory, where the server has a call for that.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn unload(&self) -> Result<bool, HttpError> {
        match self.info.kind {
            ServerKind::Ollama => ollama::unload(&self.client, &self.info).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Tokens of a text by the server's own tokenizer, where it has a call for that.
    pub fn count_tokens(&self, text: &str) -> Option<u32> {
        discover::tokenize(&self.client, &self.info, text)
    }
}

impl Generator for Server {
    fn generate(&self, prompt: &Prompt) -> Result<Generation, Failure> {
        Ok(Self::generate(self, prompt)?)
    }

    fn count(&self, _: &Prompt, generation: &mut Generation) {
        if let Some(n) = self.count_tokens(&generation.text) {
            generation.counts.generated = Some(n);
            generation.counts.source = Some(CountSource::ServerTokenizer);
        }
    }

    fn unload(&self) -> Result<bool, Failure> {
        Ok(Self::unload(self)?)
    }
}
