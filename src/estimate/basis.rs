//! What speeds rest on: specifications and published measurements, kernels timed on a machine, layers of the model timed
//! on it, or runs of the model on it.

mod own_runs;

pub(super) use own_runs::RunAnchor;
pub use own_runs::{OwnRun, OwnRuns, OwnRunsUsed};

use super::opened::OpenedModel;
use crate::calibration::evidence::{self, EvidenceMetric, PredictedRate, Quality};
use crate::calibration::profile::KernelEstimate;
use crate::calibration::transfer::{ANOTHER_MACHINE, Bin};
use crate::calibration::{Class, Fidelity, Profile, decode_work, prefill_work, training_work};
use crate::graph::tape::TraceError;
use crate::graph::training::{FineTuning, StepForm};
use crate::graph::{Graph, GraphError};
use crate::hardware::machine::Machine;
use crate::hardware::{Macs, spec};
use crate::roofline::Silicon;
use crate::run::{Run, Work};
use thiserror::Error;

/// What the speeds of a prediction rest on. Timings hold for one sequence with mlx-lm; other runs fall back to
/// specifications.
#[derive(Clone, Debug, Default)]
pub enum Basis {
    /// Specifications and published measurements.
    #[default]
    Spec,
    /// Kernels timed on a machine.
    Kernels(Box<Kernels>),
    /// Layers of this model timed on this machine, for decode; kernels for prompts, where there are any.
    Layers(Box<Timing>, Option<Box<Kernels>>),
    /// Runs of this very model, program and machine.
    Measured(OwnRuns),
}

/// A time and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// Seconds.
    pub seconds: f64,
    /// Standard deviation of its logarithm.
    pub log_error: f64,
}

impl Timed {
    /// `tokens` per second, with intervals.
    #[must_use]
    pub fn rates(self, tokens: f64) -> PredictedRate {
        PredictedRate::new(tokens / self.seconds, self.log_error)
    }

    fn of(e: &KernelEstimate, added: f64) -> Self {
        Self { seconds: e.seconds, log_error: e.log_error.hypot(added) }
    }
}

/// The times of a prompt: of all its tokens but the last, and of the step that reads that one.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptTiming {
    /// All tokens but the last.
    pub prompt: Timed,
    /// The last one.
    pub first_step: Timed,
    /// Tokens of the prompt that are read.
    pub tokens: u32,
    /// What the times rest on, in words.
    pub basis: String,
    /// How good such predictions were on this machine.
    pub quality: Option<Quality>,
}

impl PromptTiming {
    /// Prompt tokens per second.
    #[must_use]
    pub fn rates(&self) -> PredictedRate {
        self.prompt.rates(f64::from(self.tokens))
    }

    /// Seconds to the first token: middle, and the ends of the 90 % interval.
    #[must_use]
    pub fn ttft(&self) -> (f64, [f64; 2]) {
        let rates = self.rates();
        let at = |rate: f64| f64::from(self.tokens) / rate + self.first_step.seconds;
        let [slow, fast] = rates.interval_90;
        (at(rates.rate), [at(fast), at(slow)])
    }

    /// What the times rest on, and how good such predictions were.
    #[must_use]
    pub fn text(&self) -> String {
        with_quality(&self.basis, self.quality.as_ref())
    }
}

/// Times of a run of a model on a machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// How close the basis of the decode time is to the run.
    pub fidelity: Fidelity,
    /// A step in the middle of the generated tokens.
    pub decode: Timed,
    /// Steps at other depths, by tokens in the cache.
    pub at_depth: Vec<(u32, Timed)>,
    /// The prompt, where it was timed.
    pub prompt: Option<PromptTiming>,
    /// What the decode times rest on, in words.
    pub basis: String,
    /// How good such predictions were on this machine.
    pub quality: Option<Quality>,
}

impl Timing {
    /// What the decode time rests on, and how good such predictions were.
    #[must_use]
    pub fn text(&self) -> String {
        with_quality(&self.basis, self.quality.as_ref())
    }
}

fn with_quality(basis: &str, quality: Option<&Quality>) -> String {
    match quality {
        Some(q) => format!("{basis}; {}", q.text()),
        None => basis.to_owned(),
    }
}

/// Why kernel times of a machine say nothing about another.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BasisError {
    /// One of both is no Apple chip.
    #[error(
        "the profile was made on {chip} ({backend}), which is not this machine, and only profiles of Apple chips can be scaled"
    )]
    NotApple {
        /// The chip of the profile.
        chip: String,
        /// MLX's backend there.
        backend: String,
    },
    /// Another generation.
    #[error(
        "the profile was made on {0}, another generation; calibrate a Mac of the same generation, or leave --profile out"
    )]
    OtherGeneration(String),
    /// A step of the model cannot be traced.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The model cannot be built with other activations.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Kernel times of a profile.
#[derive(Clone, Debug)]
pub struct Kernels {
    profile: Profile,
    made_on: MadeOn,
}

/// Where kernel times were made.
#[derive(Clone, Copy, Debug)]
enum MadeOn {
    /// On the machine that is predicted.
    Here,
    /// On a bin of an Apple chip, or on something else.
    Bin(Option<Bin>),
}

impl Kernels {
    /// The times of a profile that was made on the machine that is predicted.
    #[must_use]
    pub const fn here(profile: Profile) -> Self {
        Self { profile, made_on: MadeOn::Here }
    }

    /// The times of a profile that was made on another machine: they are scaled to each machine that is predicted.
    #[must_use]
    pub fn elsewhere(profile: Profile, macs: &Macs) -> Self {
        let bin = bin_of(&profile, macs);
        Self { profile, made_on: MadeOn::Bin(bin) }
    }

    /// The times of the newest of these profiles that was made on another machine of the same bin; `None` where there is
    /// none.
    #[must_use]
    pub fn shared(profiles: Vec<Profile>, machine: &Machine, macs: &Macs) -> Option<Self> {
        let to = Some(bin(machine));
        let alike = profiles.into_iter().filter(|p| bin_of(p, macs) == to);
        alike.max_by_key(|p| p.created_unix_s).map(|profile| Self::elsewhere(profile, macs))
    }

    /// The profile.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Times of a run on a machine, `None` for the one that the profile was made on where that is no Mac; `None` when the
    /// profile lacks a class of kernels that the model needs.
    pub(super) fn timing(
        &self,
        of: &Modeled<'_>,
        run: &Run,
        depths: &[u32],
        machine: Option<&Machine>,
    ) -> Result<Option<Timing>, BasisError> {
        let (scaled, added, note) = self.scaled(machine)?;
        let profile = scaled.as_ref().unwrap_or(&self.profile);
        let float = if profile.machine.backend == "cpu" { of.in_float32()? } else { None };
        let graph = float.as_ref().unwrap_or(of.graph());
        let kv = run.engine.kv;
        let at = |depth: u32| -> Result<Option<Timed>, BasisError> {
            let work = decode_work(graph, depth, kv)?;
            Ok(profile.time(&work).ok().map(|e| Timed::of(&e, added)))
        };
        let Some(decode) = at(run.middle_tokens())? else { return Ok(None) };
        let mut at_depth = Vec::new();
        for &depth in depths {
            at_depth.extend(at(depth)?.map(|t| (depth, t)));
        }
        let (classes, chip) = (profile.classes.len(), &profile.machine.chip);
        let basis = format!("{classes} classes of kernels timed on {chip}{note}");
        let quality = |metric| evidence::here(&profile.machine, Fidelity::Calibrated, metric);
        let Work { context_tokens, cached_tokens, .. } = run.work;
        let whole = |tokens: u32| -> Result<Option<Timed>, BasisError> {
            let work = prefill_work(graph, tokens, run.engine.prefill_step, kv)?;
            Ok(profile.prompt_time(&work).ok().map(|e| Timed::of(&e, added)))
        };
        let mut prompt = None;
        if run.work.read_tokens() > 1 {
            let first_step = at(context_tokens)?;
            let all = whole(context_tokens)?;
            let all = match cached_tokens {
                0 => all,
                // What is left of the chunk in which the cached part ends is a call of its own.
                cached => all.zip(whole(cached)?).zip(first_step).map(|((all, cached), step)| {
                    Timed { seconds: (all.seconds - cached.seconds).max(0.0) + step.seconds, ..all }
                }),
            };
            prompt = all.zip(first_step).map(|(prompt, first_step)| PromptTiming {
                prompt,
                first_step,
                tokens: run.work.read_tokens(),
                basis: basis.clone(),
                quality: quality(EvidenceMetric::Prefill),
            });
        }
        let (fidelity, quality) = (Fidelity::Calibrated, quality(EvidenceMetric::Decode));
        Ok(Some(Timing { fidelity, decode, at_depth, prompt, basis, quality }))
    }

    /// The time of a training step on a machine, and what it rests on in words; `None` when the profile lacks a class of
    /// kernels that the step needs.
    pub(super) fn training(
        &self,
        of: Modeled<'_>,
        options: &FineTuning,
        machine: Option<&Machine>,
    ) -> Result<Option<(Timed, String)>, BasisError> {
        let (scaled, added, note) = self.scaled(machine)?;
        let profile = scaled.as_ref().unwrap_or(&self.profile);
        let float = if profile.machine.backend == "cpu" { of.in_float32()? } else { None };
        let graph = float.as_ref().unwrap_or(of.graph());
        let Ok(plan) = graph.training_plan(options) else { return Ok(None) };
        let form = StepForm { accumulated: options.accumulation > 1, update: true, later: true };
        let step = graph.training_step(&plan, options, form)?;
        let timed = |class: Class| profile.classes.contains_key(&class.to_string());
        let work = training_work(&step.trace, graph.dtype(), timed);
        let (classes, chip) = (profile.classes.len(), &profile.machine.chip);
        let basis = format!("{classes} classes of kernels timed on {chip}{note}");
        Ok(profile.training_time(&work).ok().map(|e| (Timed::of(&e, added), basis)))
    }

    /// The profile for a machine where it differs, the error that this adds, and a remark.
    fn scaled(
        &self,
        machine: Option<&Machine>,
    ) -> Result<(Option<Profile>, f64, String), BasisError> {
        let MadeOn::Bin(from) = self.made_on else { return Ok((None, 0.0, String::new())) };
        let made_on = &self.profile.machine;
        let (Some(from), Some(to)) = (from, machine.map(bin)) else {
            let (chip, backend) = (made_on.chip.clone(), made_on.backend.clone());
            return Err(BasisError::NotApple { chip, backend });
        };
        if from == to {
            return Ok((None, ANOTHER_MACHINE, ", another machine of this kind".to_owned()));
        }
        let other = || BasisError::OtherGeneration(made_on.chip.clone());
        let (scaled, added) = self.profile.transferred(from, to).ok_or_else(other)?;
        let cores = made_on.gpu_cores.unwrap_or(0);
        Ok((Some(scaled), added, format!(" ({cores} GPU cores), scaled to this bin")))
    }
}

/// The bin that a profile was made on.
fn bin_of(profile: &Profile, macs: &Macs) -> Option<Bin> {
    let made_on = &profile.machine;
    let chip = made_on.chip.strip_prefix("Apple ")?.to_lowercase().replace(' ', "");
    let (cores, memory) = (made_on.gpu_cores?, made_on.memory_bytes? >> 30);
    Some(bin(&spec::resolve(&format!("{chip}-{cores}/{memory}"), macs).ok()?))
}

fn bin(machine: &Machine) -> Bin {
    let s = Silicon::of(machine);
    Bin { generation: s.generation, bandwidth: s.bandwidth, arithmetic: s.cores * s.ghz }
}

/// The model of an estimate: opened, or a graph alone.
#[derive(Clone, Copy, Debug)]
pub(super) enum Modeled<'a> {
    Opened(&'a OpenedModel),
    Graph(&'a Graph),
}

impl<'a> Modeled<'a> {
    pub(super) const fn graph(self) -> &'a Graph {
        match self {
            Self::Opened(model) => &model.graph,
            Self::Graph(graph) => graph,
        }
    }

    /// The model with float32 activations, as MLX's CPU backend is timed; `None` when it has them already, or when its
    /// configuration is not known.
    fn in_float32(self) -> Result<Option<Graph>, GraphError> {
        match self {
            Self::Opened(model) => model.in_float32(),
            Self::Graph(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
