//! What the turns of a server cost on a machine, by the one estimator.

use super::replay::TurnCosts;
use crate::estimate::speed::Speed;
use crate::estimate::{EstimateError, Estimator, Run};
use crate::hardware::machine::Machine;
use crate::roofline::{Coefficients, Silicon, StepTime};
use std::cell::RefCell;
use std::collections::HashMap;

/// Tokens between two depths at which a step is computed.
const DEPTHS: u32 = 64;

/// Factors on the times of steps and of chunks, as where their intervals end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// On decode steps.
    pub step: f64,
    /// On chunks of prompts.
    pub chunk: f64,
}

impl Pace {
    /// As expected.
    pub const EXPECTED: Self = Self { step: 1.0, chunk: 1.0 };
}

/// Times of turns on a machine; of one that may have several bins those in the middle of them.
pub struct EstimatedCosts<'a> {
    speed: &'a Speed,
    coefficients: &'a Coefficients,
    silicon: Vec<Silicon>,
    run: Run,
    /// What the basis of the estimate makes of the laws.
    basis: Pace,
    pace: Pace,
    steps: RefCell<HashMap<(u32, u32), f64>>,
}

impl<'a> EstimatedCosts<'a> {
    /// Of the model and the engine of an estimator.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn of(estimator: &'a Estimator<'_>, machine: &Machine) -> Result<Self, EstimateError> {
        let run = estimator.run().with_batch(1);
        let silicon = machine.possible_bins().iter().map(|bin| estimator.silicon(bin)).collect();
        let mut costs = Self {
            speed: estimator.speed()?,
            coefficients: estimator.coefficients(),
            silicon,
            run,
            basis: Pace::EXPECTED,
            pace: Pace::EXPECTED,
            steps: RefCell::default(),
        };
        let (decode, prefill) = estimator.with_run(run).speeds(machine)?;
        let work = run.work;
        let prompt = f64::from(work.context_tokens) / prefill.tokens_per_s;
        costs.basis = Pace {
            step: decode.seconds_per_token / costs.step(1, run.middle_tokens()),
            chunk: prompt / costs.chunk(1, 0, work.context_tokens),
        };
        costs.steps.borrow_mut().clear();
        Ok(costs)
    }

    /// The same at another pace.
    #[must_use]
    pub fn at(&self, pace: Pace) -> Self {
        Self { silicon: self.silicon.clone(), pace, steps: RefCell::default(), ..*self }
    }

    /// Where the time of a step goes, on the first bin that the machine may have.
    #[must_use]
    pub fn parts(&self, sequences: u32, tokens: u32) -> StepTime {
        let step =
            |s| self.speed.step_seconds((self.coefficients, s), &self.run, sequences, tokens);
        self.silicon.first().map_or_else(StepTime::default, step)
    }

    /// The middle of a time over the bins of the machine.
    fn middle(&self, seconds: impl Fn(&Silicon) -> f64) -> f64 {
        let logs: f64 = self.silicon.iter().map(|s| seconds(s).ln()).sum();
        (logs / self.silicon.len().max(1) as f64).exp()
    }

    fn prompt_seconds(&self, silicon: &Silicon, prompts: u32, tokens: u32) -> f64 {
        let run = self.run.with_batch(prompts).with_context(tokens);
        self.speed.prefill_seconds(self.coefficients, silicon, &run).total()
    }
}

impl TurnCosts for EstimatedCosts<'_> {
    fn step(&self, sequences: u32, tokens: u32) -> f64 {
        let depth = tokens.next_multiple_of(DEPTHS);
        let known = self.steps.borrow().get(&(sequences, depth)).copied();
        known.unwrap_or_else(|| {
            let step = |s: &Silicon| {
                let law = (self.coefficients, s);
                self.speed.step_seconds(law, &self.run, sequences, depth).total()
            };
            let seconds = self.middle(step) * self.basis.step * self.pace.step;
            self.steps.borrow_mut().insert((sequences, depth), seconds);
            seconds
        })
    }

    fn chunk(&self, prompts: u32, read: u32, tokens: u32) -> f64 {
        let seconds = |s: &Silicon| {
            let before = if read == 0 { 0.0 } else { self.prompt_seconds(s, prompts, read) };
            (self.prompt_seconds(s, prompts, read + tokens) - before).max(f64::MIN_POSITIVE)
        };
        self.middle(seconds) * self.basis.chunk * self.pace.chunk
    }
}
