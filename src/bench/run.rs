//! The measuring protocol that all scenarios share.

use super::energy::Meter;
use super::generation::Prompt;
use super::generator::Generator;
use super::prompts::{PromptKind, Prompts};
use super::stop::Stop;
use super::trial::{Trial, TrialFlag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How often and in what way is measured.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Protocol {
    /// Timed trials of each case.
    pub trials: u32,
    /// Trials before them, which are recorded and not counted.
    pub warm_up: u32,
    /// Pause before each trial, seconds.
    pub cool_down_s: f64,
    /// Tokens generated at most.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Whether answers are streamed.
    pub stream: bool,
    /// Context to ask for, in tokens, from an engine that sizes it by the request (Ollama cuts longer prompts off).
    #[serde(default)]
    pub context_tokens: Option<u32>,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            trials: 5,
            warm_up: 1,
            cool_down_s: 1.0,
            max_tokens: 128,
            temperature: 0.0,
            stream: true,
            context_tokens: None,
        }
    }
}

/// Labels of the engines of a run, in the order in which they are named.
pub const LABELS: [&str; 2] = ["A", "B"];

/// An engine in a run.
pub struct Contender<'r> {
    /// `A`, `B`.
    pub label: String,
    /// What generates.
    pub generator: &'r dyn Generator,
}

/// A run in progress: engines, protocol, and everything measured so far.
pub struct BenchRun<'r> {
    /// The engines, in the order in which they were given.
    pub contenders: Vec<Contender<'r>>,
    /// The protocol.
    pub protocol: Protocol,
    /// Source of prompts.
    pub prompts: Prompts,
    /// All trials so far, in the order of execution.
    pub trials: Vec<Trial>,
    /// Told of every trial when it is over.
    pub observe: &'r dyn Fn(&Trial),
    /// Asked before every trial: the run ends early when it says so, with the trials that are there.
    pub stop: Stop,
    clock: Instant,
    meter: Option<Meter>,
    /// Short prompts made so far.
    asked: usize,
}

impl<'r> BenchRun<'r> {
    /// A run that has not begun.
    #[must_use]
    pub fn new(
        contenders: Vec<Contender<'r>>,
        protocol: Protocol,
        prompts: Prompts,
        observe: &'r dyn Fn(&Trial),
        stop: Stop,
    ) -> Self {
        let clock = Instant::now();
        Self {
            contenders,
            protocol,
            prompts,
            trials: Vec::new(),
            observe,
            stop,
            clock,
            meter: Meter::start(),
            asked: 0,
        }
    }

    /// A prompt under the protocol.
    #[must_use]
    pub fn prompt(&self, text: impl Into<String>) -> Prompt {
        Prompt {
            temperature: self.protocol.temperature,
            stream: self.protocol.stream,
            context_tokens: self.protocol.context_tokens,
            ..Prompt::user(text, self.protocol.max_tokens)
        }
    }

    /// A short prompt that no cache has seen; the kinds take turns.
    pub fn unique_prompt(&mut self) -> Prompt {
        let kind = PromptKind::ALL[self.asked % PromptKind::ALL.len()];
        self.asked = self.asked.wrapping_add(1);
        let text = self.prompts.of_kind(kind);
        self.prompt(text)
    }

    /// Seconds since the run began.
    #[must_use]
    pub fn elapsed_s(&self) -> f64 {
        self.clock.elapsed().as_secs_f64()
    }

    /// Measures one generation of one engine, after the pause; `None` when the run is to end.
    pub fn measure(
        &mut self,
        who: usize,
        case: &str,
        round: Option<u32>,
        prompt: &Prompt,
    ) -> Option<&Trial> {
        self.pause();
        if self.stop.requested() {
            return None;
        }
        let started_s = self.elapsed_s();
        let contender = &self.contenders[who];
        let from = Instant::now();
        let trial = one(contender.generator, prompt);
        let power = self
            .meter
            .as_ref()
            .and_then(|m| m.between(from, Instant::now(), trial.generated_tokens));
        let trial = Trial {
            power,
            engine: contender.label.clone(),
            case: case.to_owned(),
            round: round.unwrap_or(0),
            warm_up: round.is_none(),
            started_s,
            memory: contender.generator.memory(),
            ..trial
        };
        Some(self.record(trial))
    }

    /// The pause before a trial.
    pub fn pause(&self) {
        self.stop.sleep(Duration::from_secs_f64(self.protocol.cool_down_s.clamp(0.0, 3600.0)));
    }

    /// Adds a trial.
    pub fn record(&mut self, trial: Trial) -> &Trial {
        let index = self.trials.len();
        self.trials.push(Trial { index: index as u32, ..trial });
        let trial = &self.trials[index];
        (self.observe)(trial);
        trial
    }

    /// Warms every engine up, then measures the cases round by round, all engines in turn; every other round goes in
    /// the opposite order. `make` gives the prompt of a case; all engines get the same one. A case at which
    /// every engine failed in two rounds running is left out of the later rounds.
    pub fn interleaved<C>(
        &mut self,
        cases: &[(String, C)],
        mut make: impl FnMut(&mut Self, &C) -> Prompt,
    ) {
        let Some((first_name, first)) = cases.first() else { return };
        for _ in 0..self.protocol.warm_up {
            let prompt = make(self, first);
            for who in 0..self.contenders.len() {
                if self.measure(who, first_name, None, &prompt).is_none() {
                    return;
                }
            }
        }
        let mut failed_rounds = vec![0_u32; cases.len()];
        for round in 0..self.protocol.trials {
            for ((name, case), failed_rounds) in cases.iter().zip(&mut failed_rounds) {
                if *failed_rounds >= 2 {
                    continue;
                }
                let prompt = make(self, case);
                let mut order: Vec<usize> = (0..self.contenders.len()).collect();
                if round % 2 == 1 {
                    order.reverse();
                }
                let mut failures = 0;
                for &who in &order {
                    let Some(trial) = self.measure(who, name, Some(round), &prompt) else { return };
                    failures += usize::from(trial.failure.is_some());
                }
                *failed_rounds =
                    if failures == order.len() { failed_rounds.saturating_add(1) } else { 0 };
            }
        }
    }
}

/// One generation as a trial, without its place in a run.
pub(super) fn one(target: &dyn Generator, prompt: &Prompt) -> Trial {
    match target.generate(prompt) {
        Err(failure) => Trial { failure: Some(failure), ..Trial::default() },
        Ok(mut generation) => {
            if generation.counts.generated.is_none() {
                target.count(prompt, &mut generation);
            }
            Trial::of(&generation, prompt.max_tokens)
        }
    }
}

/// Marks a trial whose prompt was cut: the engine saw less than nine tenths of the tokens that were sent.
pub(super) fn mark_truncated(trial: &mut Trial, sent: u32) {
    let seen = trial.prompt_tokens.map(f64::from);
    if seen.is_some_and(|n| n < 0.9 * f64::from(sent)) {
        trial.flags.push(TrialFlag::TruncatedPrompt);
    }
}
