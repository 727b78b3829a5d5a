//! The engines that the command line names.

use super::args::{BenchArgs, ConnectionArgs};
use crate::bench::http::{Address, ApiKey, Limits, Server, ServerInfo};
use crate::bench::local::Watched;
use crate::bench::memory::MemoryReading;
use crate::bench::record::EngineRecord;
use crate::bench::run::Target;
use crate::bench::{Failure, FailureKind, Generation, Prompt};
use anyhow::{Result, bail};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Labels of the engines, in the order in which they are named.
pub(super) const LABELS: [&str; 2] = ["A", "B"];

/// A server that answers.
pub(super) struct Connected {
    pub watched: Watched,
}

impl Connected {
    pub fn record(&self, label: &str) -> EngineRecord {
        EngineRecord {
            label: label.to_owned(),
            via: "http".to_owned(),
            at: self.watched.server.address().to_string(),
            server: Some(self.watched.server.info().clone()),
        }
    }
}

/// Connects to the engines that were named.
pub(super) fn connect(args: &BenchArgs) -> Result<Vec<Connected>> {
    named(args)?
        .iter()
        .map(|(model, url)| {
            let address = Address::parse(url, args.connection.allow_remote)?;
            let server = open(&address, model.as_deref(), &args.connection)?;
            Ok(Connected { watched: Watched::new(server) })
        })
        .collect()
}

/// Models and addresses.
fn named(args: &BenchArgs) -> Result<Vec<(Option<String>, String)>> {
    Ok(match (&args.server, args.compare.as_slice()) {
        (Some(server), _) => vec![(args.model.clone(), server.clone())],
        (None, []) => bail!(
            "name a server with --server URL, or two with --compare A B; LM Studio listens at \
             http://localhost:1234, Ollama at http://localhost:11434, llama-server and mlx_lm.server at \
             http://localhost:8080"
        ),
        (None, both) => both.iter().map(|spec| split(spec)).collect(),
    })
}

/// `MODEL@URL` or `URL`.
fn split(spec: &str) -> (Option<String>, String) {
    match spec.rsplit_once("@http") {
        Some((model, rest)) => (Some(model.to_owned()), format!("http{rest}")),
        None => (None, spec.to_owned()),
    }
}

fn open(
    address: &Address,
    model: Option<&str>,
    args: &ConnectionArgs,
) -> Result<Server, crate::bench::http::HttpError> {
    let limits = Limits {
        total: Duration::from_secs(args.timeout),
        silence: Duration::from_secs(args.stall_timeout),
        ..Limits::default()
    };
    Server::connect(address, model, ApiKey::from_env(&args.key_env), limits)
}

/// A server that is started and ended during the run.
pub(super) struct Late<'a> {
    args: &'a BenchArgs,
    address: Address,
    current: Mutex<Option<Watched>>,
}

impl<'a> Late<'a> {
    pub fn new(args: &'a BenchArgs) -> Result<Self> {
        let Some((_, url)) = named(args)?.into_iter().next() else { bail!("name a server") };
        let address = Address::parse(&url, args.connection.allow_remote)?;
        Ok(Self { args, address, current: Mutex::new(None) })
    }

    fn current(&self) -> MutexGuard<'_, Option<Watched>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server answers now; connects anew.
    pub fn answers(&self) -> bool {
        let model = self.args.model.as_deref();
        match open(&self.address, model, &self.args.connection) {
            Ok(server) => {
                *self.current() = Some(Watched::new(server));
                true
            }
            Err(_) => false,
        }
    }

    /// What the last server said about itself.
    pub fn info(&self) -> Option<ServerInfo> {
        self.current().as_ref().map(|w| w.server.info().clone())
    }
}

impl Target for Late<'_> {
    fn generate(&self, prompt: &Prompt) -> Result<Generation, Failure> {
        match self.current().as_ref() {
            Some(watched) => watched.generate(prompt),
            None => Err(Failure {
                kind: FailureKind::Connection,
                message: "the server has not been started".to_owned(),
            }),
        }
    }

    fn memory(&self) -> Option<MemoryReading> {
        self.current().as_ref()?.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_may_stand_before_the_address() {
        assert_eq!(split("http://localhost:1"), (None, "http://localhost:1".to_owned()));
        let with = (Some("org/m@4bit".to_owned()), "https://h:1/v1".to_owned());
        assert_eq!(split("org/m@4bit@https://h:1/v1"), with);
        assert_eq!(split("localhost:1"), (None, "localhost:1".to_owned()));
    }
}
