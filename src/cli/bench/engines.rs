//! The engines that the command line names.

use super::args::{BenchArgs, ConnectionArgs, EngineArg};
use super::in_process;
use crate::bench::http::{Address, ApiKey, Limits, Server, ServerInfo};
use crate::bench::local::Watched;
use crate::bench::memory::MemoryReading;
use crate::bench::record::EngineRecord;
use crate::bench::tokenizer::{self, LocalTokenizer};
use crate::bench::{Failure, FailureKind, Generation, Generator, Prompt};
use crate::cli::shared::caches::cached;
use crate::cli::shared::context::Context;
use anyhow::{Context as _, Result, bail};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An engine that answers.
pub(super) enum Connected {
    /// A server.
    Server(Box<Watched>),
    /// MLX in this process, with the name of the model.
    InProcess(Box<dyn Generator>, String),
}

impl Connected {
    pub fn generator(&self) -> &dyn Generator {
        match self {
            Self::Server(watched) => watched.as_ref(),
            Self::InProcess(generator, _) => generator.as_ref(),
        }
    }

    /// Tokens of context that the engine has set aside.
    pub fn context_tokens(&self) -> Option<u32> {
        match self {
            Self::Server(watched) => watched.server.info().model.context_tokens,
            Self::InProcess(..) => None,
        }
    }

    pub fn record(&self, label: &str) -> EngineRecord {
        let label = label.to_owned();
        match self {
            Self::Server(watched) => EngineRecord {
                label,
                via: "http".to_owned(),
                at: watched.server.address().to_string(),
                server: Some(watched.server.info().clone()),
                model: None,
                tokenizer: watched.counted_with().map(|p| p.display().to_string()),
            },
            Self::InProcess(_, model) => EngineRecord {
                label,
                via: "mlx".to_owned(),
                at: model.clone(),
                server: None,
                model: Some(model.clone()),
                tokenizer: None,
            },
        }
    }
}

/// Connects to the engines that were named.
pub(super) fn connect(context: &Context, args: &BenchArgs) -> Result<Vec<Connected>> {
    let named = named(args)?;
    if let Some(path) = &args.tokenizer {
        LocalTokenizer::load(path).context("--tokenizer")?;
    }
    named.iter().map(|named| open_named(context, args, named)).collect()
}

fn open_named(context: &Context, args: &BenchArgs, named: &Named) -> Result<Connected> {
    match named {
        Named::InProcess(model) => {
            Ok(Connected::InProcess(in_process::load(context, model)?, model.clone()))
        }
        Named::Server { model, url } => {
            let address = Address::parse(url, args.connection.allow_remote)?;
            let server = open(&address, model.as_deref(), &args.connection)?;
            Ok(Connected::Server(Box::new(watched(context, args, server))))
        }
    }
}

/// A server with the tokenizer of its model, if that is on this machine.
fn watched(context: &Context, args: &BenchArgs, server: Server) -> Watched {
    let folder = args.tokenizer.clone().or_else(|| {
        let served = server.info().model.id.clone();
        let named = [args.model_as.clone(), args.model.clone(), Some(served)];
        let mut names: Vec<String> =
            named.into_iter().flatten().filter(|n| !n.is_empty()).collect();
        // A quantized model has the tokenizer of the original.
        let originals = names.iter().filter_map(|n| context.one_model(n, None, None).ok());
        let originals: Vec<String> = originals.map(|s| s.id).collect();
        names.extend(originals);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        tokenizer::find(&names, &cached())
    });
    Watched::new(server, folder)
}

/// An engine on the command line.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    /// A server, and the model that it should serve.
    Server { model: Option<String>, url: String },
    /// A model for MLX in this process.
    InProcess(String),
}

/// What the arguments name.
fn named(args: &BenchArgs) -> Result<Vec<Named>> {
    if args.engine == Some(EngineArg::Mlx) {
        return Ok(vec![Named::InProcess(args.model.clone().unwrap_or_default())]);
    }
    Ok(match (&args.server, args.compare.as_slice()) {
        (Some(url), _) => vec![Named::Server { model: args.model.clone(), url: url.clone() }],
        (None, []) => bail!(
            "name a server with --server URL, or two with --compare A B; LM Studio listens at \
             http://localhost:1234, Ollama at http://localhost:11434, llama-server and mlx_lm.server at \
             http://localhost:8080"
        ),
        (None, both) => both.iter().map(|spec| split(spec)).collect(),
    })
}

/// `MODEL@URL`, `URL` or `mlx:MODEL`.
fn split(spec: &str) -> Named {
    if let Some(model) = spec.strip_prefix("mlx:") {
        return Named::InProcess(model.to_owned());
    }
    let (model, url) = match spec.rsplit_once("@http") {
        Some((model, rest)) => (Some(model.to_owned()), format!("http{rest}")),
        None => (None, spec.to_owned()),
    };
    Named::Server { model, url }
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
        let Some(Named::Server { url, .. }) = named(args)?.into_iter().next() else {
            bail!(
                "a cold start needs --server URL, the address at which the launched server answers"
            )
        };
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
                *self.current() = Some(Watched::new(server, self.args.tokenizer.clone()));
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

impl Generator for Late<'_> {
    fn generate(&self, prompt: &Prompt) -> Result<Generation, Failure> {
        match self.current().as_ref() {
            Some(watched) => watched.generate(prompt),
            None => Err(Failure {
                kind: FailureKind::Connection,
                message: "the server has not been started".to_owned(),
            }),
        }
    }

    fn count(&self, prompt: &Prompt, generation: &mut Generation) {
        if let Some(watched) = self.current().as_ref() {
            watched.count(prompt, generation);
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
        let server = |model: Option<&str>, url: &str| Named::Server {
            model: model.map(str::to_owned),
            url: url.to_owned(),
        };
        assert_eq!(split("http://localhost:1"), server(None, "http://localhost:1"));
        assert_eq!(
            split("org/m@4bit@https://h:1/v1"),
            server(Some("org/m@4bit"), "https://h:1/v1")
        );
        assert_eq!(split("localhost:1"), server(None, "localhost:1"));
        assert_eq!(split("mlx:/models/a-4bit"), Named::InProcess("/models/a-4bit".to_owned()));
    }
}
