//! The engine in this process as a target of measurements.
//!
//! MLX's streams belong to a thread, so the model lives on a thread of its own, which answers one request at a time.

use super::error::EngineError;
use super::generate::{Finish, Request};
use super::memory::Memory;
use super::model::Model;
use super::weights::Weights;
use crate::bench::generation::{CountSource, Counts};
use crate::bench::memory::MemoryReading;
use crate::bench::run::Target;
use crate::bench::trial::{Failure, FailureKind};
use crate::bench::{Generation, Prompt, Role};
use crate::engine::text::Text;
use crate::graph::Graph;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

/// Where the tensors come from.
#[derive(Clone, Debug)]
pub enum WeightSource {
    /// Random ones; a prompt's words then become arbitrary tokens, and there is no text to read.
    Random,
    /// A model folder with safetensors files and a tokenizer.
    Folder(PathBuf),
}

/// A model that runs on a thread of this process.
pub struct InProcess {
    jobs: Mutex<Option<Sender<Job>>>,
    worker: Option<JoinHandle<()>>,
}

struct Job {
    prompt: Prompt,
    reply: Sender<Result<Generation, Failure>>,
}

impl InProcess {
    /// Loads a model.
    ///
    /// # Errors
    /// When the tensors or the tokenizer cannot be loaded.
    pub fn start(graph: Graph, source: WeightSource) -> Result<Self, EngineError> {
        let (jobs, inbox) = channel();
        let (ready, started) = channel();
        let worker = std::thread::spawn(move || work(&graph, &source, &ready, &inbox));
        let this = Self { jobs: Mutex::new(Some(jobs)), worker: Some(worker) };
        match started.recv() {
            Ok(outcome) => outcome.map(|()| this),
            Err(_) => Err(EngineError::Unsupported("a model whose loading ended abruptly".into())),
        }
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        // Without a sender the thread ends.
        if let Ok(mut jobs) = self.jobs.lock() {
            jobs.take();
        }
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

fn failure(message: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::Engine, message: message.into() }
}

impl Target for InProcess {
    fn generate(&self, prompt: &Prompt) -> Result<Generation, Failure> {
        let (reply, answer) = channel();
        let job = Job { prompt: prompt.clone(), reply };
        let sent = match self.jobs.lock() {
            Ok(jobs) => jobs.as_ref().is_some_and(|j| j.send(job).is_ok()),
            Err(_) => false,
        };
        if !sent {
            return Err(failure("the engine has ended"));
        }
        answer.recv().unwrap_or_else(|_| Err(failure("the engine has ended")))
    }

    fn memory(&self) -> Option<MemoryReading> {
        let m = Memory::now()?;
        Some(MemoryReading {
            mlx_active_bytes: Some(m.active_bytes),
            mlx_cache_bytes: Some(m.cache_bytes),
            mlx_peak_bytes: Some(m.peak_bytes),
            ..MemoryReading::default()
        })
    }
}

fn work(
    graph: &Graph,
    source: &WeightSource,
    ready: &Sender<Result<(), EngineError>>,
    inbox: &Receiver<Job>,
) {
    let loaded = load(graph, source);
    let (model, text) = match loaded {
        Ok(loaded) => loaded,
        Err(e) => {
            let _ = ready.send(Err(e));
            return;
        }
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    while let Ok(job) = inbox.recv() {
        let made = generate(&model, text.as_ref(), &job.prompt);
        let _ = job.reply.send(made);
    }
}

fn load<'g>(
    graph: &'g Graph,
    source: &WeightSource,
) -> Result<(Model<'g>, Option<Text>), EngineError> {
    match source {
        WeightSource::Random => Ok((Model::new(graph, Weights::random(graph.params(), 1)?)?, None)),
        WeightSource::Folder(folder) => {
            let text = Text::load(folder)
                .map_err(|e| EngineError::Files { path: folder.clone(), reason: e.to_string() })?;
            let weights = Weights::load(graph.params(), folder)?;
            Ok((Model::new(graph, weights)?, Some(text)))
        }
    }
}

fn generate(
    model: &Model<'_>,
    text: Option<&Text>,
    prompt: &Prompt,
) -> Result<Generation, Failure> {
    let start = Instant::now();
    let said = |e: &dyn std::fmt::Display| failure(e.to_string());
    let tokens = match text {
        Some(text) => {
            let question = text.prompt(&question(prompt)).map_err(|e| said(&e))?;
            text.encode(&question).map_err(|e| said(&e))?
        }
        None => words(&question(prompt)),
    };
    let stop = match text {
        Some(text) if !prompt.ignore_eos => text.stop_tokens().to_vec(),
        _ => Vec::new(),
    };
    let counted = tokens.len() as u32;
    let request = Request {
        temperature: prompt.temperature,
        stop,
        ..Request::greedy(tokens, prompt.max_tokens)
    };
    let before = start.elapsed().as_secs_f64();
    let made = model.generate(&request, &mut |_| ControlFlow::Continue(()));
    let made = made.map_err(|e| said(&e))?;
    let reason = match made.finish {
        Finish::Length => "length",
        Finish::Stop | Finish::Cancelled => "stop",
    };
    let arrivals_s: Vec<f64> = made.times_s.iter().map(|t| before + t).collect();
    let generated = Some(made.times_s.len() as u32);
    Ok(Generation {
        finished_s: arrivals_s.last().copied(),
        arrivals_s,
        total_s: start.elapsed().as_secs_f64(),
        finish_reason: Some(reason.to_owned()),
        counts: Counts {
            prompt: Some(counted),
            cached: Some(0),
            generated,
            source: Some(CountSource::Engine),
        },
        text: text.and_then(|t| t.decode(&made.tokens).ok()).unwrap_or_default(),
        ..Generation::default()
    })
}

/// What the user says last.
fn question(prompt: &Prompt) -> String {
    let user = prompt.messages.iter().rev().find(|(role, _)| *role == Role::User);
    user.map(|(_, text)| text.clone()).unwrap_or_default()
}

/// One arbitrary token per word; at least one.
fn words(text: &str) -> Vec<u32> {
    let token =
        |word: &str| word.bytes().fold(7u32, |h, b| h.wrapping_mul(31) ^ u32::from(b)) % 512;
    let tokens: Vec<u32> = text.split_whitespace().map(token).collect();
    if tokens.is_empty() { vec![1] } else { tokens }
}
