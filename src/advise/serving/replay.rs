//! The turns of a server under some requests, event by event: no clock and no chance, so that the same requests always
//! give the same answer.

use super::scheduler::Scheduler;
use std::collections::VecDeque;

/// What turns cost.
pub trait TurnCosts {
    /// Seconds of a decode step of `sequences`, the longest of which has `tokens` in its cache.
    fn step(&self, sequences: u32, tokens: u32) -> f64;

    /// Seconds to read `tokens` more of each of `prompts`, of which `read` have been read.
    fn chunk(&self, prompts: u32, read: u32, tokens: u32) -> f64;
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// When it arrives, in seconds.
    pub arrival_s: f64,
    /// Tokens of its prompt that no kept cache has.
    pub prompt: u32,
    /// Tokens of its prompt that a kept cache has.
    pub cached: u32,
    /// Tokens that it generates.
    pub output: u32,
}

/// When a request was served.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServedDemand {
    /// When it arrived.
    pub arrival_s: f64,
    /// When its first token came.
    pub first_s: f64,
    /// When its last token came.
    pub end_s: f64,
    /// Tokens generated.
    pub output: u32,
}

impl ServedDemand {
    /// Seconds to the first token.
    #[must_use]
    pub fn ttft_s(&self) -> f64 {
        self.first_s - self.arrival_s
    }

    /// Tokens per second from the first token to the last; `None` of a single token.
    #[must_use]
    pub fn tokens_per_s(&self) -> Option<f64> {
        let seconds = self.end_s - self.first_s;
        (self.output > 1 && seconds > 0.0).then(|| f64::from(self.output - 1) / seconds)
    }
}

/// What a server did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServedLoad {
    /// The requests, in the order in which they were given.
    pub demands: Vec<ServedDemand>,
    /// Seconds in which prompts were read.
    pub reading_s: f64,
    /// Seconds of decode steps.
    pub generating_s: f64,
    /// When the last token came.
    pub end_s: f64,
}

/// Serves requests, which are to be given in the order of their arrival.
#[must_use]
pub fn serve(scheduler: &Scheduler, costs: &dyn TurnCosts, demands: &[Demand]) -> ServedLoad {
    let mut server = Server::new(scheduler, costs, demands);
    while server.look() {
        server.turn();
    }
    server.done.end_s = server.now;
    server.done
}

/// A prompt that is read.
struct Prompt {
    index: usize,
    /// Tokens in its cache.
    held: u32,
    /// Tokens that are left to read.
    left: u32,
}

/// A sequence that generates.
struct Sequence {
    index: usize,
    tokens: u32,
    left: u32,
}

struct Server<'a> {
    scheduler: &'a Scheduler,
    costs: &'a dyn TurnCosts,
    demands: &'a [Demand],
    now: f64,
    /// When it looks for requests again.
    looks: f64,
    /// Requests that it has not seen begin here.
    unseen: usize,
    waiting: VecDeque<usize>,
    prompts: Vec<Prompt>,
    sequences: Vec<Sequence>,
    done: ServedLoad,
}

impl<'a> Server<'a> {
    fn new(scheduler: &'a Scheduler, costs: &'a dyn TurnCosts, demands: &'a [Demand]) -> Self {
        let served = |d: &Demand| ServedDemand {
            arrival_s: d.arrival_s,
            output: d.output.max(1),
            ..ServedDemand::default()
        };
        let done =
            ServedLoad { demands: demands.iter().map(served).collect(), ..ServedLoad::default() };
        let (prompts, sequences) = (Vec::new(), Vec::new());
        let waiting = VecDeque::new();
        Self {
            scheduler,
            costs,
            demands,
            now: 0.0,
            looks: 0.0,
            unseen: 0,
            waiting,
            prompts,
            sequences,
            done,
        }
    }

    /// Takes in requests, and says whether there is anything to do.
    fn look(&mut self) -> bool {
        let idle = self.waiting.is_empty() && self.prompts.is_empty() && self.sequences.is_empty();
        if idle {
            let Some(first) = self.demands.get(self.unseen) else { return false };
            // It sleeps until a request comes, takes that one and begins.
            self.now = self.now.max(first.arrival_s);
            self.waiting.push_back(self.unseen);
            self.unseen += 1;
            self.looks = self.now + self.scheduler.looks_every_s;
            if self.scheduler.looks_every_s > 0.0 {
                return true;
            }
        }
        if self.now >= self.looks {
            while self.demands.get(self.unseen).is_some_and(|d| d.arrival_s <= self.now) {
                self.waiting.push_back(self.unseen);
                self.unseen += 1;
            }
            self.looks = self.now + self.scheduler.looks_every_s;
        }
        true
    }

    fn turn(&mut self) {
        self.step();
        let running = self.sequences.len() as u32;
        if running >= self.scheduler.generating {
            return;
        }
        let free = self.scheduler.reading.saturating_sub(self.prompts.len() as u32);
        for _ in 0..free.min(self.scheduler.generating - running) {
            let Some(index) = self.waiting.pop_front() else { break };
            let Demand { prompt, cached, .. } = self.demands[index];
            self.prompts.push(Prompt { index, held: cached, left: prompt });
        }
        self.join();
        self.read();
    }

    /// One token of every sequence.
    fn step(&mut self) {
        let Some(longest) = self.sequences.iter().map(|s| s.tokens).max() else { return };
        let seconds = self.costs.step(self.sequences.len() as u32, longest);
        self.now += seconds;
        self.done.generating_s += seconds;
        for s in &mut self.sequences {
            let served = &mut self.done.demands[s.index];
            if s.left == served.output {
                served.first_s = self.now;
            }
            s.left -= 1;
            s.tokens += 1;
            served.end_s = self.now;
        }
        self.sequences.retain(|s| s.left > 0);
    }

    /// Prompts that have been read begin to generate.
    fn join(&mut self) {
        let (read, rest) = std::mem::take(&mut self.prompts).into_iter().partition(|p| p.left == 0);
        self.prompts = rest;
        let begun: Vec<Prompt> = read;
        for p in begun {
            let left = self.done.demands[p.index].output;
            self.sequences.push(Sequence { index: p.index, tokens: p.held, left });
        }
    }

    /// One chunk of every prompt, as long as the longest.
    fn read(&mut self) {
        let chunk = self.scheduler.chunk;
        let Some(longest) = self.prompts.iter().map(|p| p.left.min(chunk)).max() else { return };
        let held = self.prompts.iter().map(|p| p.held).max().unwrap_or(0);
        let seconds = self.costs.chunk(self.prompts.len() as u32, held, longest);
        self.now += seconds;
        self.done.reading_s += seconds;
        for p in &mut self.prompts {
            let read = p.left.min(chunk);
            p.left -= read;
            p.held += read;
        }
    }
}
