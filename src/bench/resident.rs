//! MLX in this process as an engine among others: a model that stays in memory and answers prompts of text.
//!
//! The model lives in a thread of its own, because MLX's streams belong to the thread that makes them; requests wait
//! their turn there, and the wait is part of their time to first token.

use super::failure::{Failure, FailureKind};
use super::generation::{ChatRole, CountSource, Counts, Generation, Prompt};
use super::generator::Generator;
use super::in_process::memory;
use super::memory::{MemoryReading, ServerProcess};
use crate::engine::mlx::{EngineError, Finish, GenerationRequest, LoadedWeights, Model};
use crate::engine::text::{Text, TextError};
use crate::graph::Graph;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use thiserror::Error;

/// Why a model cannot be held in this process.
#[derive(Debug, Error)]
pub enum ResidentError {
    /// The weights cannot be loaded.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no tokenizer.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The thread ended.
    #[error("MLX's thread ended before the model was loaded")]
    Ended,
}

/// A request on its way to the thread.
struct Job {
    request: GenerationRequest,
    reply: Sender<Result<crate::engine::mlx::MlxGeneration, EngineError>>,
}

/// A model in this process.
pub struct Resident {
    jobs: Mutex<Sender<Job>>,
    text: Text,
    process: ServerProcess,
}

impl Resident {
    /// Loads the weights and the tokenizer of a folder.
    ///
    /// # Errors
    /// When either cannot be read, or MLX cannot hold the tensors.
    pub fn load(graph: Graph, folder: &Path) -> Result<Self, ResidentError> {
        let text = Text::load(folder)?;
        let (jobs, queue) = channel();
        let (tell, told) = channel();
        let folder = folder.to_owned();
        std::thread::spawn(move || work(&graph, &folder, &tell, &queue));
        told.recv().map_err(|_| ResidentError::Ended)??;
        Ok(Self { jobs: Mutex::new(jobs), text, process: ServerProcess::own() })
    }

    fn request(&self, prompt: &Prompt) -> Result<GenerationRequest, Failure> {
        let [(ChatRole::User, message)] = prompt.messages.as_slice() else {
            return Err(failure(&"in process, a prompt is a single question"));
        };
        let text = self.text.prompt(message).map_err(|e| failure(&e))?;
        let tokens = self.text.encode(&text).map_err(|e| failure(&e))?;
        let stop = if prompt.ignore_eos { Vec::new() } else { self.text.stop_tokens().to_vec() };
        Ok(GenerationRequest {
            stop,
            temperature: prompt.temperature,
            ..GenerationRequest::greedy(tokens, prompt.max_tokens)
        })
    }
}

fn failure(problem: &dyn ToString) -> Failure {
    Failure { kind: FailureKind::Engine, message: problem.to_string() }
}

/// Loads the model, and answers until nobody can ask any more.
fn work(
    graph: &Graph,
    folder: &Path,
    tell: &Sender<Result<(), EngineError>>,
    queue: &Receiver<Job>,
) {
    let loaded = LoadedWeights::load(graph.params(), folder).and_then(|w| Model::new(graph, w));
    let model = match loaded {
        Ok(model) => model,
        Err(e) => return drop(tell.send(Err(e))),
    };
    if tell.send(Ok(())).is_err() {
        return;
    }
    while let Ok(job) = queue.recv() {
        let done = model.generate(&job.request, &mut |_| ControlFlow::Continue(()));
        // Whoever asked may have gone.
        let _ = job.reply.send(done);
    }
}

impl Generator for Resident {
    fn generate(&self, prompt: &Prompt) -> Result<Generation, Failure> {
        let sent = Instant::now();
        let request = self.request(prompt)?;
        let prompt_tokens = u32::try_from(request.prompt.len()).ok();
        let (reply, answer) = channel();
        let ended = "MLX's thread has ended";
        let job = Job { request, reply };
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        jobs.send(job).map_err(|_| failure(&ended))?;
        let done = answer.recv().map_err(|_| failure(&ended))?.map_err(|e| failure(&e))?;
        let total_s = sent.elapsed().as_secs_f64();
        // The engine's clock begins when the request's turn has come.
        let before = total_s - done.times_s.last().copied().unwrap_or(total_s);
        let finish = if done.finish == Finish::Stop { "stop" } else { "length" };
        Ok(Generation {
            arrivals_s: done.times_s.iter().map(|t| before + t).collect(),
            total_s,
            finish_reason: Some(finish.to_owned()),
            counts: Counts {
                prompt: prompt_tokens,
                cached: Some(0),
                generated: u32::try_from(done.times_s.len()).ok(),
                source: Some(CountSource::Engine),
            },
            text: self.text.decode(&done.tokens).unwrap_or_default(),
            ..Generation::default()
        })
    }

    fn memory(&self) -> Option<MemoryReading> {
        Some(memory(self.process.read().unwrap_or_default()))
    }
}
