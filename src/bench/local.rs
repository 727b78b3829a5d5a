//! A server on this machine, whose memory can be read.

use super::generation::{Generation, Prompt};
use super::http::Server;
use super::memory::{MemoryReading, ServerProcess};
use super::run::Target;
use super::trial::Failure;

/// A server with its process, where that runs on this machine.
#[derive(Debug)]
pub struct Watched {
    /// The server.
    pub server: Server,
    process: Option<ServerProcess>,
}

impl Watched {
    /// Watches a server's process if it is on this machine.
    #[must_use]
    pub fn new(server: Server) -> Self {
        let address = server.address();
        let process = address.is_loopback().then(|| ServerProcess::on_port(address.port()));
        Self { server, process }
    }
}

impl Target for Watched {
    fn generate(&self, prompt: &Prompt) -> Result<Generation, Failure> {
        Ok(self.server.generate(prompt)?)
    }

    fn count_tokens(&self, text: &str) -> Option<u32> {
        self.server.count_tokens(text)
    }

    fn memory(&self) -> Option<MemoryReading> {
        self.process.as_ref()?.read()
    }

    fn unload(&self) -> Result<bool, Failure> {
        Ok(self.server.unload()?)
    }
}
