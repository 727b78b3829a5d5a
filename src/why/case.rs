//! A run that was measured, and the same run with something changed.

use super::WhyDataError;
use super::rank::Gap;
use crate::estimate::{Decode, EstimateError, Estimator, Memory, Prefill, Run};
use crate::hardware::catalog::{Macs, MacsError};
use crate::hardware::machine::Machine;
use crate::hardware::power::{Form, PowerDataError};
use crate::ledger::peak::PeakError;
use crate::roofline::features::{FeatureError, StepFeatures};
use thiserror::Error;

/// Why a gap cannot be explained.
#[derive(Debug, Error)]
pub enum GapError {
    /// The run cannot be predicted.
    #[error(transparent)]
    Predict(#[from] EstimateError),
    /// Its memory cannot.
    #[error(transparent)]
    Peak(#[from] PeakError),
    /// A step cannot be traced.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// The causes cannot be read.
    #[error(transparent)]
    Data(#[from] WhyDataError),
    /// The catalog of chips has problems.
    #[error(transparent)]
    Macs(#[from] MacsError),
    /// The power modes cannot be read.
    #[error(transparent)]
    Power(#[from] PowerDataError),
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SeenSpeeds {
    /// Tokens per second.
    pub decode: Option<f64>,
    /// Seconds to the first token.
    pub ttft_s: Option<f64>,
    /// Tokens of the prompt that should have been in a cache.
    pub cached_tokens: u32,
}

/// What the user said rather than left to defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatedParts {
    /// Tokens of the prompt.
    pub context: bool,
    /// Tokens generated.
    pub generate: bool,
    /// Version of the engine.
    pub version: bool,
    /// Version of MLX.
    pub mlx: bool,
    /// Format of the weights.
    pub format: bool,
}

/// Speeds of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Speeds {
    /// Tokens per second.
    pub decode: f64,
    /// Seconds to the first token.
    pub ttft_s: f64,
}

/// Most tokens in the cache that are considered where the user did not say how many there were.
const DEEPEST: u32 = 131_072;

/// A run with what was measured.
pub struct GapCase<'a> {
    /// The run, to be asked about.
    pub(super) estimator: &'a Estimator<'a>,
    /// The machine.
    pub(super) machine: &'a Machine,
    /// What else the machine may be: other bins of its chip.
    pub(super) siblings: Vec<Machine>,
    /// What was said.
    pub(super) stated: StatedParts,
    /// What was measured.
    pub(super) seen: SeenSpeeds,
    /// Predicted decode speed.
    pub decode: Decode,
    /// Predicted prefill speed.
    pub prefill: Prefill,
    /// Predicted memory.
    pub memory: Memory,
    /// What the model's steps do.
    pub(super) features: StepFeatures,
    /// Cooling.
    pub(super) form: Form,
    /// Arguments of `predict` for this run, for commands.
    pub(super) named: String,
    /// Predicted seconds to the first token, the cached part left out.
    pub ttft_s: f64,
    /// Where nine of ten such times lie.
    pub ttft_interval_90_s: [f64; 2],
}

impl<'a> GapCase<'a> {
    /// Predicts a run that was measured. `named` are the arguments of `predict` for it.
    ///
    /// # Errors
    /// When it cannot be predicted.
    pub fn new(
        estimator: &'a Estimator<'a>,
        (machine, macs): (&'a Machine, &Macs),
        (stated, seen): (StatedParts, SeenSpeeds),
        named: &str,
    ) -> Result<Self, GapError> {
        let figures = estimator.on(machine)?;
        let (decode, prefill) = (figures.decode, figures.prefill);
        let features = estimator.speed()?.features().clone();
        let mut case = Self {
            estimator,
            machine,
            siblings: siblings(machine, macs)?,
            stated,
            seen,
            ttft_s: prefill.ttft_s,
            ttft_interval_90_s: [0.0; 2],
            decode,
            prefill,
            memory: figures.memory,
            features,
            form: Form::of(machine),
            named: named.to_owned(),
        };
        let run = *estimator.run();
        case.ttft_s = case.speeds_on(machine, run).map_or(case.ttft_s, |s| s.ttft_s);
        let whole = case.prefill.ttft_s;
        let work = run.work;
        let ends = case.prefill.ttft_at(case.prefill.interval_90, &work);
        case.ttft_interval_90_s = ends.map(|t| t * case.ttft_s / whole);
        Ok(case)
    }

    /// The run.
    pub(super) fn run(&self) -> Run {
        *self.estimator.run()
    }

    /// Measured over predicted speeds: of decode, and of the first token.
    #[must_use]
    pub fn gaps(&self) -> [Option<Gap>; 2] {
        let decode = self
            .seen
            .decode
            .map(|rate| Gap::new(rate, self.decode.tokens_per_s, self.decode.interval_90));
        let [soon, late] = self.ttft_interval_90_s;
        // The speed to the first token is the inverse of its time.
        let first = self.seen.ttft_s.map(|t| Gap::new(self.ttft_s, t, [1.0 / late, 1.0 / soon]));
        [decode, first]
    }

    /// Speeds of another run of the same model, here.
    pub(super) fn speeds(&self, run: Run) -> Option<Speeds> {
        self.speeds_on(self.machine, run)
    }

    /// Speeds of a run on a machine, the cached part of the prompt left out; `None` where it cannot be predicted.
    pub(super) fn speeds_on(&self, machine: &Machine, run: Run) -> Option<Speeds> {
        let (decode, prefill) = self.estimator.with_run(run).speeds(machine).ok()?;
        let cached = self.seen.cached_tokens.min(run.work.context_tokens);
        let kept = match cached {
            0 => 0.0,
            n => {
                let of = self.estimator.with_run(run.with_context(n));
                f64::from(n) / of.speeds(machine).ok()?.1.tokens_per_s
            }
        };
        let ttft_s = (prefill.ttft_s - kept).max(decode.seconds_per_token);
        Some(Speeds { decode: decode.tokens_per_s, ttft_s })
    }

    /// Factors on both speeds when the run is changed.
    pub(super) fn changed(&self, run: Run) -> Option<[f64; 2]> {
        self.speeds(run).map(|s| self.factors(s))
    }

    /// Factors on both speeds.
    pub(super) fn factors(&self, s: Speeds) -> [f64; 2] {
        [s.decode / self.decode.tokens_per_s, self.ttft_s / s.ttft_s]
    }

    /// Factor on the decode rate when a token takes so much longer, in seconds.
    pub(super) fn longer_token(&self, seconds: [f64; 2]) -> [f64; 2] {
        longer(self.decode.seconds_per_token, seconds)
    }

    /// Factor on the speed to the first token when it comes so much later, in seconds.
    pub(super) fn later_token(&self, seconds: [f64; 2]) -> [f64; 2] {
        longer(self.ttft_s, seconds)
    }

    /// Seconds of a part of a decode step.
    pub(super) fn term(&self, name: &str) -> f64 {
        self.decode.terms.iter().filter(|t| t.name == name).map(|t| t.seconds).sum()
    }

    /// The most tokens that may have been in the cache.
    pub(super) fn deepest(&self) -> u32 {
        let made_for = self.estimator.graph().max_context().unwrap_or(u64::from(DEEPEST));
        u32::try_from(made_for).unwrap_or(DEEPEST).min(DEEPEST)
    }
}

fn longer(was: f64, [least, most]: [f64; 2]) -> [f64; 2] {
    [was / (was + most), was / (was + least)]
}

/// The other bins of the machine's chip, with its memory where it is sold with it.
fn siblings(machine: &Machine, macs: &Macs) -> Result<Vec<Machine>, MacsError> {
    if !machine.bins.is_empty() {
        return Ok(Vec::new());
    }
    let gib = machine.memory.value.0 >> 30;
    let limits = macs.limits()?;
    let other = |c: &&crate::hardware::catalog::Chip| {
        (c.generation, c.tier) == (machine.generation.value, machine.tier.value)
            && machine.chip.as_deref().is_some_and(|id| id != c.id)
            && c.memory_gib.contains(&gib)
    };
    Ok(macs.chips()?.iter().filter(other).map(|c| Machine::from_chip(c, gib, limits)).collect())
}
