//! A server on this machine, whose memory can be read.

use super::failure::Failure;
use super::generation::{Generation, Prompt};
use super::generator::Generator;
use super::http::Server;
use super::memory::{MemoryReading, ServerProcess};
use super::tokenizer::LocalTokenizer;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A server with its process, where that runs on this machine, and the tokenizer for what it does not count.
#[derive(Debug)]
pub struct Watched {
    /// The server.
    pub server: Server,
    process: Option<ServerProcess>,
    /// The model's folder on this machine.
    folder: Option<PathBuf>,
    /// Read when the server first gives no counts; `None` in it when the folder is of no use.
    tokenizer: OnceLock<Option<LocalTokenizer>>,
}

impl Watched {
    /// Watches a server's process if it is on this machine. `folder` has the model's tokenizer.
    #[must_use]
    pub fn new(server: Server, folder: Option<PathBuf>) -> Self {
        let address = server.address();
        let process = address.is_loopback().then(|| ServerProcess::on_port(address.port()));
        Self { server, process, folder, tokenizer: OnceLock::new() }
    }

    fn tokenizer(&self) -> Option<&LocalTokenizer> {
        let load = || LocalTokenizer::load(self.folder.as_deref()?).ok();
        self.tokenizer.get_or_init(load).as_ref()
    }

    /// The folder of the tokenizer that counted, if one had to.
    #[must_use]
    pub fn counted_with(&self) -> Option<&Path> {
        self.tokenizer.get()?.as_ref().map(LocalTokenizer::folder)
    }
}

impl Generator for Watched {
    fn generate(&self, prompt: &Prompt) -> Result<Generation, Failure> {
        Ok(self.server.generate(prompt)?)
    }

    fn count(&self, prompt: &Prompt, generation: &mut Generation) {
        self.server.count(prompt, generation);
        if generation.counts.generated.is_none()
            && let Some(tokenizer) = self.tokenizer()
        {
            tokenizer.complete(prompt, generation);
        }
    }

    fn memory(&self) -> Option<MemoryReading> {
        self.process.as_ref()?.read()
    }

    fn unload(&self) -> Result<bool, Failure> {
        Ok(self.server.unload()?)
    }
}
