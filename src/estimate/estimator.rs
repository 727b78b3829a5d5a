//! The one composition of a peak, a speed and an interval: a model and a run, to be asked about any number of machines.

mod contexts;
mod drafted;
mod program;

use super::basis::{Basis, BasisError, Kernels, Modeled, OwnRuns, OwnRunsUsed, RunAnchor, Timing};
use super::bins;
use super::cluster::ClusterRefusal;
use super::gpu::{gpu, uses_matrix_units};
use super::memory::{Ends, LlamaModel, MaxContext, Memory};
use super::opened::OpenedModel;
use super::refusal::Refusal;
use super::speed::{AtDepth, Decode, Prefill, Speed, UnsoundTime, sound, sound_depths};
use super::stored::assumed_gguf;
use super::towers::counting_images;
use super::unlisted;
use super::warning::Warning;
use super::widening::Of;
use crate::calibration::evidence::PredictedRate;
use crate::graph::Graph;
use crate::hardware::machine::Machine;
use crate::ledger::peak::{Peak, PeakError};
use crate::ledger::replay::Gpu;
use crate::ledger::training::TrainingError;
use crate::roofline::features::FeatureError;
use crate::roofline::{Coefficients, Silicon};
use crate::run::{EngineSetup, Program, Run, Work};
use crate::units::Bytes;
pub(super) use program::SmallerChunk;
use program::as_its_program;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use thiserror::Error;

/// A model with a run, ready to be estimated on machines. What does not depend on the machine is computed once, what
/// depends on the kind of GPU once per kind.
pub struct Estimator<'a> {
    pub(super) model: Modeled<'a>,
    pub(super) run: Run,
    pub(super) depths: Vec<u32>,
    pub(super) doubts: Vec<Warning>,
    pub(super) basis: Basis,
    coefficients: &'a Coefficients,
    speed: OnceLock<Arc<Speed>>,
    peaks: Mutex<HashMap<(Gpu, u32), Arc<Peak>>>,
    ends: Mutex<HashMap<Gpu, Arc<Ends<'a>>>>,
    contexts: Mutex<HashMap<(Gpu, Bytes), MaxContext>>,
    llama: OnceLock<Arc<LlamaModel>>,
    draft: Option<Box<Estimator<'a>>>,
}

/// Memory and speeds on one machine.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Peak memory and verdict.
    pub memory: Memory,
    /// Decode speed.
    pub decode: Decode,
    /// Prefill speed and time to first token.
    pub prefill: Prefill,
}

/// The peak of a run, and what it may be otherwise.
pub(super) struct PeaksBetween {
    /// The peak with the version of MLX that is predicted.
    pub peak: Arc<Peak>,
    /// The lowest and the highest with the versions that it may be.
    pub between: [Bytes; 2],
    /// What caches of earlier prompts may come to take.
    pub kept: Bytes,
}

/// Why there is no estimate.
#[derive(Debug, Error)]
pub enum EstimateError {
    /// The run cannot be simulated.
    #[error(transparent)]
    Peak(#[from] PeakError),
    /// The step cannot be traced.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// The timings say nothing about the machine.
    #[error(transparent)]
    Basis(#[from] BasisError),
    /// A law gives a time that cannot be.
    #[error(transparent)]
    Unsound(#[from] UnsoundTime),
    /// The power modes cannot be read.
    #[error(transparent)]
    Power(#[from] crate::hardware::power::PowerDataError),
    /// The engine or the model cannot do what was asked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// mlx-lm cannot train it.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// Several Macs cannot run it together.
    #[error(transparent)]
    Cluster(#[from] ClusterRefusal),
    /// The files of a tokenizer cannot be read.
    #[error(transparent)]
    Vocabulary(#[from] crate::model::drafts::VocabularyError),
}

impl<'a> Estimator<'a> {
    /// A run of an opened model. A GGUF file is taken to be run by llama.cpp where MLX was asked for, and a program on
    /// llama.cpp to run the usual GGUF file of a model.
    #[must_use]
    pub fn new(
        coefficients: &'a Coefficients,
        model: &'a OpenedModel,
        run: Run,
        basis: Basis,
    ) -> Self {
        let said = model.reading.iter().chain(&model.warnings).cloned();
        let mut doubts: Vec<Warning> = said.map(Warning::Model).collect();
        let mut run = run.with_file(model.file());
        if run.file.gguf.is_some() {
            run.engine.program = run.engine.program.running(true);
        }
        let runs_gguf = run.engine.program.runs_gguf();
        if run.file.gguf.is_some() && !runs_gguf {
            run = run.with_program(Program::LlamaCpp);
            doubts.push(Warning::GgufWithMlx);
        } else if run.file.gguf.is_none() && runs_gguf {
            let (file, doubt) = assumed_gguf(model);
            run = run.with_file(file);
            doubts.push(doubt);
        }
        doubts.extend(of_engine(&run.engine));
        let run = counting_images(model, run).unwrap_or_else(|doubt| {
            doubts.push(*doubt);
            run.with_images(None)
        });
        Self { doubts, basis, ..Self::empty(coefficients, Modeled::Opened(model), run) }
    }

    /// A run of a graph, from specifications and published measurements.
    #[must_use]
    pub fn of_graph(coefficients: &'a Coefficients, graph: &'a Graph, run: Run) -> Self {
        Self::empty(coefficients, Modeled::Graph(graph), run)
    }

    fn empty(coefficients: &'a Coefficients, model: Modeled<'a>, run: Run) -> Self {
        let run = as_its_program(run, model.graph());
        Self {
            model,
            run,
            depths: Vec::new(),
            doubts: Vec::new(),
            basis: Basis::Spec,
            coefficients,
            speed: OnceLock::new(),
            peaks: Mutex::default(),
            ends: Mutex::default(),
            contexts: Mutex::default(),
            llama: OnceLock::new(),
            draft: None,
        }
    }

    /// The same, with the decode speed at other tokens in the cache as well.
    #[must_use]
    pub fn with_depths(self, depths: &[u32]) -> Self {
        Self { depths: depths.to_vec(), ..self }
    }

    /// The same model with another run of the same program, file and cache.
    #[must_use]
    pub fn with_run(&self, run: Run) -> Self {
        let alike = run.engine.kv == self.run.engine.kv
            && run.engine.all_experts == self.run.engine.all_experts
            && run.engine.program == self.run.engine.program
            && run.file == self.run.file;
        Self {
            run,
            depths: self.depths.clone(),
            doubts: self.doubts.clone(),
            basis: self.basis.clone(),
            // What a step does hangs on these alone.
            speed: if alike { self.speed.clone() } else { OnceLock::new() },
            peaks: Mutex::default(),
            ends: Mutex::default(),
            contexts: Mutex::default(),
            llama: if alike { self.llama.clone() } else { OnceLock::new() },
            draft: self.draft.as_ref().map(|draft| {
                let run = run.with_file(draft.run.file).with_draft(None);
                Box::new(draft.with_run(run))
            }),
            ..*self
        }
    }

    /// Another model in the same run, from specifications and published measurements.
    #[must_use]
    pub fn of_other<'m>(&self, model: &'m OpenedModel) -> Estimator<'m>
    where
        'a: 'm,
    {
        Estimator::new(self.coefficients, model, self.run.with_draft(None), Basis::Spec)
    }

    /// The model, where it was opened.
    #[must_use]
    pub const fn opened(&self) -> Option<&'a OpenedModel> {
        match self.model {
            Modeled::Opened(model) => Some(model),
            Modeled::Graph(_) => None,
        }
    }

    /// The run.
    #[must_use]
    pub const fn run(&self) -> &Run {
        &self.run
    }

    /// A machine as the run finds it: with the limits that were given.
    pub(super) fn granted<'m>(&self, machine: &'m Machine) -> Cow<'m, Machine> {
        let Some(cap) = self.run.engine.cap else {
            return machine.granted(self.run.engine.gpu_limit, self.run.engine.budget);
        };
        let granted = machine.granted(self.run.engine.gpu_limit, self.run.engine.budget);
        Cow::Owned(Machine { cap: Some(cap), ..granted.into_owned() })
    }

    /// The laws of speed.
    #[must_use]
    pub const fn coefficients(&self) -> &'a Coefficients {
        self.coefficients
    }

    /// What was taken for granted of the model and the engine, whatever the machine.
    #[must_use]
    pub fn doubts(&self) -> &[Warning] {
        &self.doubts
    }

    /// The graph of the model.
    #[must_use]
    pub const fn graph(&self) -> &'a Graph {
        self.model.graph()
    }

    /// What a step of the model does, whatever the machine. Traced once.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn speed(&self) -> Result<&Speed, FeatureError> {
        if let Some(known) = self.speed.get() {
            return Ok(known);
        }
        let speed = Arc::new(Speed::of(self.graph(), &self.run)?);
        Ok(self.speed.get_or_init(|| speed))
    }

    /// Decode and prefill speed of a GPU by the laws, in microseconds.
    ///
    /// # Errors
    /// When mlx-lm could not run the model, or the laws give a time that cannot be.
    pub fn rates(&self, silicon: &Silicon) -> Result<(Decode, Prefill), EstimateError> {
        let speed = self.speed()?;
        let decode = speed.decode(self.coefficients, silicon, &self.run);
        let prefill = speed.prefill(self.coefficients, silicon, &self.run);
        sound(&decode, &prefill)?;
        Ok((decode, prefill))
    }

    /// Decode and prefill speed on a machine, by the basis of the estimate.
    ///
    /// # Errors
    /// When mlx-lm could not run the model, or the timings say nothing about the machine.
    pub fn speeds(&self, machine: &Machine) -> Result<(Decode, Prefill), EstimateError> {
        let (speeds, _) = self.speeds_and_timing(machine)?;
        Ok(speeds)
    }

    /// The speeds on a machine, and the times that they rest on, if any: those of its first bin where it may have several.
    pub(super) fn speeds_and_timing(
        &self,
        machine: &Machine,
    ) -> Result<((Decode, Prefill), Option<Timing>), EstimateError> {
        let (first, rest) = machine.possible_bins().split_first().unwrap_or((machine, &[]));
        let (speeds, timing) = self.of_bin(first)?;
        if rest.is_empty() {
            return Ok((speeds, timing));
        }
        let (mut decodes, mut prefills) = (vec![speeds.0], vec![speeds.1]);
        for bin in rest {
            let ((decode, prefill), _) = self.of_bin(bin)?;
            decodes.push(decode);
            prefills.push(prefill);
        }
        Ok(((bins::decode(machine, &decodes), bins::prefill(machine, &prefills)), timing))
    }

    fn of_bin(&self, bin: &Machine) -> Result<((Decode, Prefill), Option<Timing>), EstimateError> {
        let (mut decode, mut prefill) = self.rates(&self.silicon(bin))?;
        let timing = self.timing(Some(bin))?;
        if let Some(timing) = &timing {
            decode.take(timing);
            prefill.take(timing);
            sound(&decode, &prefill)?;
        }
        if let Some(own) = self.own_runs(bin) {
            let [of_decode, of_prefill] = self.anchors(&own, &self.silicon(bin), &self.run)?;
            if let Some(anchor) = of_decode {
                decode.anchor(&anchor);
            }
            if let Some(anchor) = of_prefill {
                let work = self.run.work;
                prefill.anchor(&anchor, f64::from(work.read_tokens()) * f64::from(work.batch));
            }
        }
        if let Some(range) = self.run.file.weights_range {
            bins::over_files(&mut decode, range);
        }
        Ok(((decode, prefill), timing))
    }

    /// The own runs that count on a machine; none where the cache is quantized, because they were made without.
    fn own_runs(&self, machine: &Machine) -> Option<OwnRuns> {
        let Basis::Measured(own) = &self.basis else { return None };
        let own = own.on(machine);
        (self.run.engine.kv.is_none() && !own.runs().is_empty()).then_some(own)
    }

    /// What own runs make of the rates of decode and prefill of a run.
    fn anchors(
        &self,
        own: &OwnRuns,
        silicon: &Silicon,
        run: &Run,
    ) -> Result<[Option<RunAnchor>; 2], FeatureError> {
        let (speed, coefficients) = (self.speed()?, self.coefficients);
        let of = |work: &Work| Run { work: *work, ..*run };
        let decode = own.anchor(Of::Decode, &run.work, |work| {
            let seconds = speed.decode_seconds(coefficients, silicon, &of(work)).total();
            f64::from(work.batch.max(1)) / seconds
        });
        let prefill = own.anchor(Of::Prefill, &run.work, |work| {
            let seconds = speed.prefill_seconds(coefficients, silicon, &of(work)).total();
            f64::from(work.read_tokens()) * f64::from(work.batch.max(1)) / seconds
        });
        Ok([decode, prefill])
    }

    /// The own runs behind a prediction, with the rates as they are without them; `None` where there are none.
    pub(super) fn own_runs_used(
        &self,
        machine: &Machine,
    ) -> Result<Option<OwnRunsUsed>, EstimateError> {
        let Some(own) = self.own_runs(machine) else { return Ok(None) };
        let silicon = self.silicon(machine);
        let [decode, prefill] = self.anchors(&own, &silicon, &self.run)?;
        let ids = [&decode, &prefill].into_iter().flatten().flat_map(|a| a.ids.clone()).collect();
        let (d, p) = self.rates(&silicon)?;
        let rate =
            |rate, interval_80, interval_90| PredictedRate { rate, interval_80, interval_90 };
        Ok(Some(OwnRunsUsed {
            ids,
            decode: decode.map(|_| rate(d.tokens_per_s, d.interval_80, d.interval_90)),
            prefill: prefill.map(|_| rate(p.tokens_per_s, p.interval_80, p.interval_90)),
        }))
    }

    /// The GPU of a machine as the MLX of the run sees it.
    fn gpu(&self, machine: &Machine) -> Gpu {
        gpu(machine, &self.run.engine)
    }

    /// The silicon of a machine, without matrix units where the engine of the run does not use them.
    #[must_use]
    pub fn silicon(&self, machine: &Machine) -> Silicon {
        let engine = &self.run.engine;
        let silicon = Silicon::of(machine);
        let used =
            engine.program.runs_gguf() || uses_matrix_units(machine, engine, engine.mlx.taken);
        Silicon { matrix_units: silicon.matrix_units && used, ..silicon }
    }

    /// Decode speeds of a machine at the depths that were asked for, by the basis of the estimate.
    pub(super) fn at_depths(&self, machine: &Machine) -> Result<Vec<AtDepth>, EstimateError> {
        let mut all = Vec::new();
        for bin in machine.possible_bins() {
            let silicon = self.silicon(bin);
            let speed = self.speed()?;
            let mut depths = speed.decode_at(self.coefficients, &silicon, &self.run, &self.depths);
            let timing = if depths.is_empty() { None } else { self.timing(Some(bin))? };
            depths.iter_mut().for_each(|at| at.take(timing.as_ref()));
            if let Some(own) = self.own_runs(bin) {
                for at in &mut depths {
                    let run = self.run.with_context(at.context_tokens);
                    if let [Some(anchor), _] = self.anchors(&own, &silicon, &run)? {
                        at.tokens_per_s *= anchor.ratio;
                    }
                }
            }
            sound_depths(&depths)?;
            all.push(depths);
        }
        Ok(bins::at_depths(&all))
    }

    /// Times of the run by the basis of the estimate, on a machine, or on this one where that is no Mac.
    pub(super) fn timing(&self, machine: Option<&Machine>) -> Result<Option<Timing>, BasisError> {
        if self.run.engine.program != Program::MlxLm || self.run.work.batch != 1 {
            return Ok(None);
        }
        let of = |kernels: &Kernels| kernels.timing(&self.model, &self.run, &self.depths, machine);
        match &self.basis {
            Basis::Spec | Basis::Measured(_) => Ok(None),
            Basis::Kernels(kernels) => of(kernels),
            Basis::Layers(layers, kernels) => {
                let kernels = kernels.as_deref().map(of).transpose()?.flatten();
                let prompt = kernels.and_then(|k| k.prompt);
                Ok(Some(Timing { prompt, ..layers.as_ref().clone() }))
            }
        }
    }

    /// Memory of the run on a machine, with that of its draft. Simulated once per kind of GPU.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn memory(&self, machine: &Machine) -> Result<Memory, PeakError> {
        let machine = &*self.granted(machine);
        let memory = self.memory_alone(machine)?;
        match &self.draft {
            Some(draft) => Ok(memory.beside(self.beside(machine, draft)?, machine)),
            None => Ok(memory),
        }
    }

    /// Memory of the run on a machine without its draft.
    pub(super) fn memory_alone(&self, machine: &Machine) -> Result<Memory, PeakError> {
        if self.run.engine.program.runs_gguf() {
            return self.llama()?.memory(machine, &self.run);
        }
        let PeaksBetween { peak, between: [low, high], kept } = self.peaks_between(machine)?;
        let between = [low, high + kept];
        let between = self.with_smaller_chunks(machine, between)?;
        let memory =
            Memory::judge_between(peak.as_ref().clone(), between, machine, &self.run.engine);
        let memory = Memory { kept, ..memory };
        Ok(match self.run.file.weights_range {
            Some(range) => memory.over_files(range, machine),
            None => memory,
        })
    }

    /// The peak on a machine, and those of all versions of MLX that the engine may run on.
    pub(super) fn peaks_between(&self, machine: &Machine) -> Result<PeaksBetween, PeakError> {
        let peak = self.peak(self.gpu(machine))?;
        let others = self.gpus(machine, self.run.engine.mlx.range)?;
        let others: Vec<u64> = others
            .into_iter()
            .map(|gpu| Ok(self.peak(gpu)?.peak_bytes))
            .collect::<Result<_, PeakError>>()?;
        let low = others.iter().copied().fold(peak.peak_bytes, u64::min);
        let high = others.into_iter().fold(peak.peak_bytes, u64::max);
        Ok(PeaksBetween { peak, between: [low, high].map(Bytes), kept: self.kept(machine)? })
    }

    /// Says what the engine or the model cannot do.
    ///
    /// # Errors
    /// When it cannot do what was asked.
    pub fn possible(&self) -> Result<(), Refusal> {
        Refusal::of(self.graph(), &self.run).map_or(Ok(()), Err)
    }

    /// Everything but the longest context.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn on(&self, machine: &Machine) -> Result<Figures, EstimateError> {
        self.possible()?;
        let (decode, prefill) = self.speeds(machine)?;
        Ok(Figures { memory: self.memory(machine)?, decode, prefill })
    }
}

/// Doubts about an engine itself.
fn of_engine(engine: &EngineSetup) -> Vec<Warning> {
    let mut doubts = Vec::new();
    if matches!(engine.program, Program::Other(_)) {
        doubts.push(Warning::UnlistedProgram(engine.program));
    }
    doubts.extend(unlisted::of_engine(engine));
    if !engine.program.runs_gguf() && !engine.mlx.is_known() {
        doubts.push(Warning::MlxVersion(Box::new(*engine)));
    }
    doubts
}
