//! Threads that answer while the screen stays alive. The newest question wins: what nobody waits for any more is dropped
//! between two steps, and its results are never sent.

use super::answering::{Answering, SpeedAt, drafts, open, opens};
use super::inquiry::{Inquiry, ModelFacts};
use super::panics;
use crate::cli::shared::context::Context;
use crate::cli::shared::curve::MemoryStack;
use crate::estimate::{OpenedModel, Prediction};
use anyhow::Result;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// Threads that answer: while one of them waits for a repository or a giant, another serves the next question.
const THREADS: usize = 2;

/// Something that is known of a question.
#[derive(Debug)]
pub(super) enum Reply {
    /// The prediction, and what later questions need of the model.
    Prediction(Box<Prediction>, ModelFacts),
    /// The same prediction with the changes that help.
    Helped(Box<Prediction>),
    /// The decode speed over the context.
    Speeds(Vec<SpeedAt>),
    /// The memory over the context.
    Memory(Vec<MemoryStack>),
    /// All is said.
    Done,
    /// There is no answer, and why.
    Failed(String),
}

/// What takes replies, each with the number of its question.
pub(super) type Sink = Arc<dyn Fn(u64, Reply) + Send + Sync>;

/// Threads that answer questions.
pub(super) struct Workers {
    shared: Arc<WorkerState>,
}

struct WorkerState {
    context: Arc<Context>,
    sink: Sink,
    waiting: Mutex<Option<(u64, Inquiry)>>,
    arrived: Condvar,
    newest: AtomicU64,
}

impl Workers {
    /// Starts the threads. They end with the process.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(context: Arc<Context>, sink: Sink) -> io::Result<Self> {
        let shared = Arc::new(WorkerState {
            context,
            sink,
            waiting: Mutex::new(None),
            arrived: Condvar::new(),
            newest: AtomicU64::new(0),
        });
        for _ in 0..THREADS {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("explore".to_owned()).spawn(move || shared.serve())?;
        }
        Ok(Self { shared })
    }

    /// Asks a question in the place of any other.
    pub fn ask(&self, number: u64, inquiry: Inquiry) {
        self.shared.newest.store(number, Ordering::Relaxed);
        *self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((number, inquiry));
        self.shared.arrived.notify_one();
    }
}

impl WorkerState {
    fn serve(&self) {
        let mut next = self.next();
        loop {
            let (number, inquiry) = next;
            let opened = panics::caught(|| open(&self.context, &inquiry));
            next = match opened {
                Ok(model) => self.serve_model(&model, (number, inquiry)),
                Err(why) => {
                    self.send(number, Reply::Failed(why));
                    self.next()
                }
            };
        }
    }

    /// Answers a question and those that follow it about the same model; returns the first about another.
    fn serve_model(&self, model: &OpenedModel, first: (u64, Inquiry)) -> (u64, Inquiry) {
        let opened = opens(&first.1);
        let (mut number, mut inquiry) = first;
        loop {
            let answered = panics::caught(|| self.answer(model, (number, &inquiry)));
            self.send(number, answered.map_or_else(Reply::Failed, |()| Reply::Done));
            let next = self.next();
            if opens(&next.1) != opened {
                return next;
            }
            (number, inquiry) = next;
        }
    }

    fn answer(&self, model: &OpenedModel, (number, inquiry): (u64, &Inquiry)) -> Result<()> {
        let stale = || self.is_stale(number);
        let drafts = drafts(&self.context, inquiry, model)?;
        let answering = Answering::new(&self.context, inquiry, model, drafts.as_ref())?;
        let prediction = answering.prediction()?;
        let facts = answering.facts(&prediction);
        self.send(number, Reply::Prediction(Box::new(prediction.clone()), facts));
        if stale() {
            return Ok(());
        }
        self.send(number, Reply::Speeds(answering.speeds()?));
        self.send(number, Reply::Memory(answering.memory(&stale)?));
        if stale() {
            return Ok(());
        }
        if let Some(helped) = answering.helped(&prediction) {
            self.send(number, Reply::Helped(Box::new(helped)));
        }
        Ok(())
    }

    fn is_stale(&self, number: u64) -> bool {
        self.newest.load(Ordering::Relaxed) != number
    }

    fn send(&self, number: u64, reply: Reply) {
        if !self.is_stale(number) {
            (self.sink)(number, reply);
        }
    }

    /// Waits for a question.
    fn next(&self) -> (u64, Inquiry) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(next) = waiting.take() {
                return next;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser as _;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    fn asked(line: &str) -> (Context, Inquiry) {
        let words = format!("mlxplan explore --offline {line}");
        let cli = Cli::try_parse_from(words.split_whitespace()).expect(line);
        let Some(Command::Explore(args)) = cli.command else { panic!("{line}") };
        (Context::new(cli.global).expect("a context"), args.inquiry())
    }

    fn workers(context: Context) -> (Workers, Receiver<(u64, Reply)>) {
        let (to, replies) = channel();
        let sink: Sink = Arc::new(move |number, reply| drop(to.send((number, reply))));
        (Workers::start(Arc::new(context), sink).expect("threads"), replies)
    }

    /// The names of the replies to a question, to the last.
    fn names(replies: &Receiver<(u64, Reply)>, number: u64) -> Vec<&'static str> {
        let mut names = Vec::new();
        loop {
            let (of, reply) = replies.recv_timeout(Duration::from_secs(300)).expect("a reply");
            if of != number {
                continue;
            }
            names.push(match reply {
                Reply::Prediction(..) => "prediction",
                Reply::Helped(_) => "helped",
                Reply::Speeds(_) => "speeds",
                Reply::Memory(_) => "memory",
                Reply::Done => "done",
                Reply::Failed(_) => "failed",
            });
            if matches!(names.last(), Some(&"done" | &"failed")) {
                return names;
            }
        }
    }

    #[test]
    fn everything_is_answered_and_a_mistake_ends_nothing() {
        let (context, first) = asked("--model smollm2-135m-4bit --mac m1-8/8");
        let (workers, replies) = workers(context);
        workers.ask(1, asked("--model no-such-model --mac m1-8/8").1);
        assert_eq!(names(&replies, 1), ["failed"]);
        workers.ask(2, asked("--model smollm2-135m-4bit --mac no-such-mac").1);
        assert_eq!(names(&replies, 2), ["failed"]);
        workers.ask(3, first);
        assert_eq!(names(&replies, 3), ["prediction", "speeds", "memory", "done"]);
        let mut longer = asked("--model qwen3-32b-4bit --mac m1-8/8").1;
        longer.run.context = 1024;
        workers.ask(4, longer);
        assert_eq!(names(&replies, 4), ["prediction", "speeds", "memory", "helped", "done"]);
    }

    #[test]
    fn the_newest_question_wins() {
        let (context, mut inquiry) = asked("--model smollm2-135m-4bit --mac m1-8/8");
        let (workers, replies) = workers(context);
        for number in 1..=20 {
            inquiry.run.context = 100 * number;
            workers.ask(number.into(), inquiry.clone());
        }
        assert_eq!(names(&replies, 20).last(), Some(&"done"));
        assert!(replies.try_recv().is_err(), "nothing is said of older ones any more");
    }
}
