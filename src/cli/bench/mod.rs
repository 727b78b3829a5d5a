//! `mlxplan bench`: measures engines.

pub mod args;
mod document;

use super::{Context, Verdict};
use crate::bench::http::{Address, ApiKey, Limits, Server};
use crate::bench::prompts::Prompts;
use crate::bench::record::{self, EngineRecord, Record, SCHEMA};
use crate::bench::run::{Contender, Protocol, Run, Target};
use crate::bench::scenario::{self, Scenario, Work};
use crate::bench::summary::{compare, summarise};
use crate::bench::{Trial, run as protocol};
use crate::hardware::probe;
use crate::report::Answer;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use args::{BenchArgs, ConnectionArgs, ProtocolArgs};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Longest prompt file, bytes.
const MAX_PROMPT_BYTES: u64 = 16 << 20;

/// An engine that was named on the command line, connected.
struct Engine {
    server: Server,
}

pub(super) fn run(context: &Context, args: &BenchArgs) -> Result<(Answer, Verdict)> {
    let engines = connect(args)?;
    let protocol = protocol_of(&args.protocol)?;
    let started = SystemTime::now();
    let quiet = context.global.quiet;
    let observe = move |t: &Trial| {
        if !quiet {
            eprintln!("{}", document::progress(t));
        }
    };
    let contenders = engines
        .iter()
        .zip(["A", "B"])
        .map(|(e, label)| Contender { label: label.to_owned(), target: &e.server as &dyn Target })
        .collect();
    let mut run = Run::new(contenders, protocol, Prompts::unique(), &observe);
    let scenario = Scenario::from(args.scenario);
    match scenario {
        Scenario::Decode => scenario::decode(&mut run, &work(&args.protocol)?),
        Scenario::Depth => scenario::depth(&mut run, &depths(args, &engines))?,
    }
    let protocol::Run { trials, protocol, .. } = run;
    let duration_s = started.elapsed().unwrap_or_default().as_secs_f64();
    let record = Record {
        schema: SCHEMA.to_owned(),
        mlxplan: env!("CARGO_PKG_VERSION").to_owned(),
        scenario,
        started: record::utc(started),
        duration_s,
        machine: serde_json::to_value(probe::probe(&context.catalogue)?)?,
        engines: engines.iter().zip(["A", "B"]).map(|(e, label)| e.record(label)).collect(),
        protocol,
        summary: summarise(&trials),
        comparison: match engines.len() {
            2 => compare(&trials, "A", "B"),
            _ => Vec::new(),
        },
        trials,
        notes: Vec::new(),
    };
    if let Some(folder) = &args.results {
        let path = record::store(folder, &record)?;
        context.hint(&format!("stored as {}", path.display()));
    }
    // A run in which nothing succeeded answers nothing.
    let useful = record.trials.iter().any(Trial::counts);
    let verdict = if useful { Verdict::Ok } else { Verdict::No };
    let answer =
        Answer { json: serde_json::to_value(&record)?, document: document::document(&record) };
    Ok((answer, verdict))
}

impl Engine {
    fn record(&self, label: &str) -> EngineRecord {
        EngineRecord {
            label: label.to_owned(),
            via: "http".to_owned(),
            at: self.server.address().to_string(),
            server: Some(self.server.info().clone()),
        }
    }
}

/// Connects to the engines that were named.
fn connect(args: &BenchArgs) -> Result<Vec<Engine>> {
    let named: Vec<(Option<String>, String)> = match (&args.server, args.compare.as_slice()) {
        (Some(server), _) => vec![(args.model.clone(), server.clone())],
        (None, []) => bail!(
            "name a server with --server URL, or two with --compare A B; LM Studio listens at \
             http://localhost:1234, Ollama at http://localhost:11434, llama-server and mlx_lm.server at \
             http://localhost:8080"
        ),
        (None, both) => both.iter().map(|spec| split(spec)).collect(),
    };
    named.iter().map(|(model, url)| engine(model.as_deref(), url, &args.connection)).collect()
}

/// `MODEL@URL` or `URL`.
fn split(spec: &str) -> (Option<String>, String) {
    match spec.rsplit_once("@http") {
        Some((model, rest)) => (Some(model.to_owned()), format!("http{rest}")),
        None => (None, spec.to_owned()),
    }
}

fn engine(model: Option<&str>, url: &str, args: &ConnectionArgs) -> Result<Engine> {
    let address = Address::parse(url, args.allow_remote)?;
    let limits = Limits {
        total: Duration::from_secs(args.timeout),
        silence: Duration::from_secs(args.stall_timeout),
        ..Limits::default()
    };
    let key = ApiKey::from_env(&args.key_env);
    Ok(Engine { server: Server::connect(&address, model, key, limits)? })
}

fn protocol_of(args: &ProtocolArgs) -> Result<Protocol> {
    ensure!(
        (0.0..=3600.0).contains(&args.cool_down),
        "--cool-down {}: from 0 to 3600 seconds",
        args.cool_down
    );
    ensure!(
        (0.0..=2.0).contains(&args.temperature),
        "--temperature {}: from 0 to 2",
        args.temperature
    );
    Ok(Protocol {
        trials: args.trials,
        warm_up: args.warm_up,
        cool_down_s: args.cool_down,
        max_tokens: args.generate,
        temperature: args.temperature,
        stream: !args.no_stream,
    })
}

fn work(args: &ProtocolArgs) -> Result<Vec<Work>> {
    if args.prompt_file.is_empty() {
        return Ok(args.kinds().map_err(|e| anyhow!(e))?.into_iter().map(Work::Kind).collect());
    }
    args.prompt_file.iter().map(|path| given(path)).collect()
}

fn given(path: &Path) -> Result<Work> {
    let context = || format!("cannot read the prompt {}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(context)?;
    file.take(MAX_PROMPT_BYTES + 1).read_to_string(&mut text).with_context(context)?;
    ensure!(text.len() as u64 <= MAX_PROMPT_BYTES, "{} is longer than 16 MiB", path.display());
    ensure!(!text.trim().is_empty(), "{} is empty", path.display());
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Work::Given(name, text))
}

/// The depths that were asked for, or all that the smaller context holds.
fn depths(args: &BenchArgs, engines: &[Engine]) -> Vec<u32> {
    if !args.protocol.depths.is_empty() {
        return args.protocol.depths.clone();
    }
    let contexts = engines.iter().filter_map(|e| e.server.info().model.context_tokens);
    let limit = contexts.min().unwrap_or(8192).saturating_sub(args.protocol.generate);
    let depths = scenario::doubling(limit);
    if depths.is_empty() { vec![limit.max(64)] } else { depths }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_may_stand_before_the_address() {
        let s = |spec| split(spec);
        assert_eq!(s("http://localhost:1"), (None, "http://localhost:1".to_owned()));
        let with = (Some("org/m@4bit".to_owned()), "https://h:1/v1".to_owned());
        assert_eq!(s("org/m@4bit@https://h:1/v1"), with);
        assert_eq!(s("localhost:1"), (None, "localhost:1".to_owned()));
    }
}
