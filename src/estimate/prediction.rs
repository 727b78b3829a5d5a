//! Everything mlxplan can say about a model on a machine.

use super::basis::{Modeled, OwnRunsUsed, Timing};
use super::estimator::{EstimateError, Estimator};
use super::explain::Explanation;
use super::memory::{
    Advice, BUFFERS_INTERVAL_SOURCE, MaxContext, Memory, PEAK_INTERVAL_SOURCE, Withheld, advise,
    advise_llama,
};
use super::power::PowerSpeeds;
use super::speculation::Speculation;
use super::speed::{AtDepth, Decode, Prefill};
use super::stored::StoredWeights;
use super::streaming::StreamedExperts;
use super::warning::{self, Warning};
use super::widening::Widening;
use crate::calibration::Fidelity;
use crate::calibration::evidence::Quality;
use crate::hardware::machine::Machine;
use crate::ledger::peak::PeakError;
use crate::ledger::weights::{PartSize, Weights};
use crate::model::quality::PublishedLoss;
use crate::run::{FormatOrigin, PromptUse, Run};
use crate::versions::{MLX_LM, MLX_RULES};

/// A prediction for a Mac.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The model.
    pub model: Named,
    /// The machine.
    pub machine: Machine,
    /// What was asked.
    pub run: Run,
    /// Peak memory, process and limits.
    pub memory: Option<Memory>,
    /// Its pace with experts read from the SSD, where it has such and does not fit.
    pub streamed: Option<StreamedExperts>,
    /// Longest context.
    pub context: Option<Longest>,
    /// Decode speed.
    pub decode: Decode,
    /// Decode speed at other depths.
    pub at_depth: Vec<AtDepth>,
    /// Prefill speed and time to first token.
    pub prefill: Prefill,
    /// What power mode and heat leave of the speeds.
    pub power: Option<PowerSpeeds>,
    /// Basis of the decode speed.
    pub fidelity: Fidelity,
    /// How good such predictions were here, where any were checked.
    pub runs_here: RunsHere,
    /// The own runs that shifted it.
    pub own_runs: Option<OwnRunsUsed>,
    /// Doubts.
    pub warnings: Vec<Warning>,
    /// Changes that help, by what they lose and then by what they gain, where they were looked for.
    pub changes: Vec<Advice>,
    /// Changes that would help and are not proposed for what they lose.
    pub withheld: Vec<Withheld>,
    /// Every byte with its rule, where that was asked for.
    pub explanation: Option<Explanation>,
    /// What drafts do to the run, where that was asked for.
    pub speculation: Option<Speculation>,
}

/// A prediction for this machine where it is no Mac: speeds that were timed here, and nothing else.
#[derive(Clone, Debug)]
pub struct TimedAlone {
    /// The model.
    pub model: Named,
    /// What was asked.
    pub run: Run,
    /// The times.
    pub timing: Timing,
    /// Doubts.
    pub warnings: Vec<Warning>,
}

/// A model as answers name it.
#[derive(Clone, Debug)]
pub struct Named {
    /// Name: a repository, a folder, a file.
    pub id: String,
    /// The folder or file that it was read from, where that is on this machine.
    pub place: Option<String>,
    /// `model_type` of its configuration.
    pub family: String,
    /// Format of its weights.
    pub quant: String,
    /// Sizes of its weights.
    pub weights: Weights,
    /// The weights as the engine of the run stores them.
    pub stored: StoredWeights,
    /// The same by part of the model.
    pub parts: Vec<PartSize>,
}

/// The longest context, on two assumptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Longest {
    /// By the expected peak and limit.
    pub at_most: MaxContext,
    /// By the upper end of the interval of the peak and the lowest limit.
    pub safe: MaxContext,
}

/// How good timed predictions were on this machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunsHere {
    /// Of decode.
    pub decode: Option<Quality>,
    /// Of prefill, where that rests on timings.
    pub prefill: Option<Option<Quality>>,
}

impl Estimator<'_> {
    /// Predicts everything on a machine.
    ///
    /// # Errors
    /// When mlx-lm could not run the model, the run is empty, or the timings say nothing about the machine.
    pub fn at(&self, machine: &Machine) -> Result<Prediction, EstimateError> {
        let machine = &*self.granted(machine);
        self.possible()?;
        let memory = || -> Result<_, PeakError> {
            let memory = self.memory(machine)?;
            let at_most = self.max_context(machine)?;
            let safe = self.safe_context(machine)?;
            Ok((Some(memory), Some(Longest { at_most, safe })))
        };
        // Both need the classes of layers: read once, before.
        self.graph().layer_plan().map_err(PeakError::from)?;
        let (memory, speeds) = rayon::join(memory, || self.speeds_and_timing(machine));
        let ((memory, context), ((decode, prefill), timing)) = (memory?, speeds?);
        let at_depth = self.at_depths(machine)?;
        let own_runs = self.own_runs_used(machine)?;
        let power = PowerSpeeds::of(&self.run, machine, (&decode, &prefill))?;
        let mut warnings = self.doubts.clone();
        warnings.extend(self.beyond_the_model());
        warnings.extend(self.beyond_the_memory(machine));
        warning::join(&mut warnings, &decode.warnings);
        warning::join(&mut warnings, &prefill.warnings);
        if memory.is_some() {
            let alone = self.memory_alone(machine)?;
            warnings.extend(self.other_versions(machine, &alone)?);
            warnings.extend(self.serving(machine, &alone)?);
        }
        let streamed = memory
            .as_ref()
            .and_then(|m| StreamedExperts::of(self, machine, m, decode.seconds_per_token));
        Ok(Prediction {
            model: self.named(),
            machine: machine.clone(),
            run: self.run,
            memory,
            streamed,
            context,
            decode,
            at_depth,
            prefill,
            power,
            fidelity: match &own_runs {
                Some(own) if own.decode.is_some() => Fidelity::Measured,
                _ => timing.as_ref().map_or(Fidelity::Spec, |t| t.fidelity),
            },
            runs_here: timing.map(RunsHere::of).unwrap_or_default(),
            own_runs,
            warnings,
            changes: Vec::new(),
            withheld: Vec::new(),
            explanation: None,
            speculation: None,
        })
    }

    /// What can be said of this machine where it is no Mac: speeds that were timed here; `None` where there are none.
    ///
    /// # Errors
    /// When mlx-lm could not run the model, or the timings were made elsewhere.
    pub fn alone(&self) -> Result<Option<TimedAlone>, EstimateError> {
        let alone = |timing| TimedAlone {
            model: self.named(),
            run: self.run,
            timing,
            warnings: self.doubts.clone(),
        };
        Ok(self.timing(None)?.map(alone))
    }

    /// The name of the model and its parameters.
    #[must_use]
    pub fn model_size(&self) -> (String, u64) {
        let id = match self.model {
            Modeled::Opened(model) => model.id.clone(),
            Modeled::Graph(graph) => graph.model_type().to_owned(),
        };
        (id, Weights::of(self.graph()).parameters)
    }

    fn named(&self) -> Named {
        let graph = self.graph();
        let (id, _) = self.model_size();
        let (quant, stored, weights) = (self.quant(), self.weights(), Weights::of(graph));
        let family = graph.model_type().to_owned();
        let place = match self.model {
            Modeled::Opened(model) => model.source.origin.place().map(|p| p.display().to_string()),
            Modeled::Graph(_) => None,
        };
        Named { id, place, quant, family, weights, stored, parts: PartSize::of(graph) }
    }

    /// The format of the weights that the engine runs.
    #[must_use]
    pub fn quant(&self) -> String {
        match (self.run.file.origin, self.run.file.gguf, self.model) {
            (
                FormatOrigin::EngineDefault | FormatOrigin::Native | FormatOrigin::Assumed,
                Some(mix),
                _,
            ) => format!("gguf-{mix}"),
            (_, _, Modeled::Opened(model)) => model.quant.clone(),
            (_, _, Modeled::Graph(graph)) => {
                graph.uniform_scheme().map_or_else(String::new, |s| s.to_string())
            }
        }
    }

    /// The weights as the engine stores them.
    #[must_use]
    pub fn weights(&self) -> StoredWeights {
        StoredWeights::of(self.graph(), &self.run.file)
    }

    /// What the format of the weights loses, as published; `None` where nobody measured it.
    #[must_use]
    pub fn loss(&self) -> Option<PublishedLoss> {
        if self.run.file.origin == FormatOrigin::Native {
            return Some(PublishedLoss::original());
        }
        let (id, parameters) = self.model_size();
        PublishedLoss::of_weights(&id, parameters, &self.quant())
    }

    /// A doubt when more of the memory was given to the GPU than there is.
    fn beyond_the_memory(&self, machine: &Machine) -> Option<Warning> {
        let (given, memory) = (self.run.engine.gpu_limit?, machine.memory.value);
        (given > memory).then_some(Warning::LimitBeyondMemory { given, memory })
    }

    /// A doubt when the run is longer than the model was made for.
    fn beyond_the_model(&self) -> Option<Warning> {
        let (tokens, made_for) = (self.run.total_tokens(), self.graph().max_context()?);
        (u64::from(tokens) > made_for).then_some(Warning::BeyondTheModel { tokens, made_for })
    }
}

impl Named {
    /// What its format loses, as published. A model in the format that it was published in loses nothing.
    pub(super) fn loss(&self, origin: FormatOrigin) -> Option<PublishedLoss> {
        if origin == FormatOrigin::Native {
            return Some(PublishedLoss::original());
        }
        PublishedLoss::of_weights(&self.id, self.weights.parameters, &self.quant)
    }
}

impl RunsHere {
    fn of(timing: Timing) -> Self {
        Self { decode: timing.quality, prefill: timing.prompt.map(|p| p.quality) }
    }
}

impl Prediction {
    /// Time to first token at both ends of the 90 % interval of the prefill speed, in seconds.
    #[must_use]
    pub fn ttft_interval_90_s(&self) -> [f64; 2] {
        let work = self.run.work;
        self.prefill.ttft_at(self.prefill.interval_90, &work)
    }

    /// The run with the batch that llama.cpp was found to take.
    #[must_use]
    pub fn with_batch_taken(&self) -> Run {
        let taken = self.memory.as_ref().and_then(|m| m.llama).map(|l| l.settings.micro_batch);
        let taken = taken.and_then(|tokens| u32::try_from(tokens).ok());
        taken.map_or(self.run, |tokens| self.run.with_prefill_step(tokens))
    }

    /// Looks for changes that help, with the estimator that it comes from.
    pub fn look_for_changes(&mut self, estimator: &Estimator<'_>) {
        let (Some(memory), Some(context)) = (&self.memory, self.context) else { return };
        let now = (memory, context.at_most);
        // What helps llama.cpp is not what helps MLX.
        let advised = match memory.llama {
            Some(_) => advise_llama(estimator, &self.machine, now),
            None => advise(estimator, &self.machine, now),
        };
        (self.changes, self.withheld) = (advised.changes, advised.withheld);
    }

    /// What the format of the weights loses, as published; `None` where nobody measured it.
    #[must_use]
    pub fn loss(&self) -> Option<PublishedLoss> {
        self.model.loss(self.run.file.origin)
    }

    /// What the prediction leaves out.
    #[must_use]
    pub fn not_modeled(&self) -> Vec<String> {
        let mut all = vec![match self.power {
            Some(_) => "other processes; heat and power modes only as ranges".to_owned(),
            None => "other processes, heat and power modes".to_owned(),
        }];
        if self.run.work.images.is_some() {
            all.push("the run of the vision tower: its time and its buffers".to_owned());
        }
        if self.memory.as_ref().is_some_and(|m| m.llama.is_some()) {
            all.push("projectors, drafts".to_owned());
        }
        all
    }

    /// Whether the model generates text, so that it has a decode speed.
    #[must_use]
    pub fn generates(&self) -> bool {
        self.run.file.purpose == PromptUse::Generates
    }

    /// Why the intervals are wider than their classes of measurements say.
    pub fn widenings(&self) -> impl Iterator<Item = &Widening> {
        let decode = self.generates().then_some(&self.decode.widenings);
        decode.into_iter().flatten().chain(&self.prefill.widenings)
    }

    /// Every input and where it comes from, in words.
    #[must_use]
    pub fn sources(&self) -> Vec<(&'static str, String)> {
        let machine = self.machine.provenance();
        let mut all: Vec<(&str, String)> =
            machine.into_iter().map(|(name, from)| (name, from.to_string())).collect();
        if self.generates() {
            all.push(("decode", self.decode.evidence.text.clone()));
        }
        all.push(("prefill", self.prefill.evidence.text.clone()));
        if self.memory.as_ref().is_some_and(|m| m.llama.is_some()) {
            let rules = "llama.cpp's own rules for caches and compute buffers, b11549".to_owned();
            all.push(("peak", rules));
            all.push(("peak_interval", BUFFERS_INTERVAL_SOURCE.to_owned()));
        } else if self.memory.is_some() {
            let rules = format!(
                "simulation of mlx-lm {MLX_LM} by the allocation rules of MLX {MLX_RULES} and the attention kernels of \
                 MLX {}",
                self.run.engine.mlx.taken
            );
            all.push(("peak", rules));
            all.push(("peak_interval", PEAK_INTERVAL_SOURCE.to_owned()));
        }
        all
    }
}

impl TimedAlone {
    /// What the speeds rest on, in words.
    #[must_use]
    pub fn sources(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![("decode", self.timing.text())];
        all.extend(self.timing.prompt.as_ref().map(|p| ("prefill", p.text())));
        all
    }
}
