//! Peaks and longest contexts, each searched once per kind of GPU.

use super::Estimator;
use crate::estimate::memory::{
    Ends, LlamaModel, MaxContext, Room, below, budget, longest, roomy, safe_budget, start,
    within_less,
};
use crate::hardware::machine::Machine;
use crate::ledger::cache::CacheGrowth;
use crate::ledger::peak::{self, Peak, PeakError};
use crate::ledger::replay::Gpu;
use crate::ledger::weights::Weights;
use crate::run::Run;
use crate::units::Bytes;
use std::sync::{Arc, Mutex, PoisonError};

impl<'a> Estimator<'a> {
    /// The longest context on a machine, by the expected peak. Searched once per kind of GPU and memory.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn max_context(&self, machine: &Machine) -> Result<MaxContext, PeakError> {
        let machine = &*self.granted(machine);
        self.with_room(machine, |alone, machine| {
            if alone.run.engine.program.runs_gguf() {
                return alone.llama()?.longest(machine, &alone.run, false);
            }
            alone.longest(alone.gpu(machine), machine)
        })
    }

    fn longest(&self, gpu: Gpu, machine: &Machine) -> Result<MaxContext, PeakError> {
        let peak = budget(machine, self.run.engine.reserve);
        self.remembered(gpu, peak, |ends, known| longest(ends, machine, known))
    }

    /// The longest context that fits a machine even at the upper end of the interval of the peak and under the lowest
    /// limit.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn safe_context(&self, machine: &Machine) -> Result<MaxContext, PeakError> {
        let machine = &*self.granted(machine);
        self.with_room(machine, Self::safe_alone)
    }

    /// The same without a draft.
    fn safe_alone(&self, machine: &Machine) -> Result<MaxContext, PeakError> {
        if self.run.engine.program.runs_gguf() {
            return self.llama()?.longest(machine, &self.run, true);
        }
        let mut gpus = self.gpus(machine, self.run.engine.mlx.range)?;
        gpus.push(self.gpu(machine));
        let all: Vec<MaxContext> = gpus
            .into_iter()
            .map(|gpu| self.safe(gpu, machine))
            .collect::<Result<_, PeakError>>()?;
        let shortest = all.into_iter().min_by_key(|c| c.tokens);
        shortest.map_or_else(|| self.max_context(machine), Ok)
    }

    fn safe(&self, gpu: Gpu, machine: &Machine) -> Result<MaxContext, PeakError> {
        let more = self.run.file.weights_range.map_or(0.0, |[_, high]| (high - 1.0).max(0.0));
        let more = Bytes((Weights::of(self.graph()).active_bytes as f64 * more) as u64);
        let less = safe_budget(machine, self.run.engine.reserve).saturating_sub(more);
        let longer = self.longest(gpu, machine)?;
        let most = budget(machine, self.run.engine.reserve);
        let buffer = roomy(machine.gpu_limit.max_buffer());
        let room = Room { peak: less, buffer };
        let full = self.run.at_its_fullest(machine.memory.value);
        self.remembered(gpu, less, |ends, known| {
            if full.engine.held == ends.run.engine.held {
                let found = within_less(ends, less, (known, longer, most))?;
                return below(ends, room, known, found);
            }
            let ends = &Ends::of(self.graph(), &full, gpu.alike())?;
            let known = &known.keeping(self.kept_beside(&start(&self.run), machine)?);
            let found = within_less(ends, less, (known, longer, most))?;
            below(ends, room, known, found)
        })
    }

    /// What the engine may come to keep of earlier prompts beside what the peak counts already, where each is as long as the
    /// run.
    pub(in crate::estimate) fn kept(&self, machine: &Machine) -> Result<Bytes, PeakError> {
        self.kept_beside(&self.run, machine)
    }

    /// The same beside the run, or the same run with another prompt.
    fn kept_beside(&self, run: &Run, machine: &Machine) -> Result<Bytes, PeakError> {
        let (own, run) = (run.in_memory(), run.at_its_fullest(machine.memory.value));
        if run.engine.held == own.engine.held || run.engine.held.is_none() {
            return Ok(Bytes::ZERO);
        }
        let each = CacheGrowth::of(self.graph(), run.engine.prefill_step, 1, run.engine.kv)?;
        Ok(run.engine.held.total(Bytes(each.bytes(run.total_tokens())?)))
    }

    /// Bytes of the cells of a sequence of so many tokens in llama.cpp.
    pub(in crate::estimate) fn llama_cache_bytes(&self, tokens: u32) -> Result<u64, PeakError> {
        self.llama()?.cache_bytes(&self.run, tokens)
    }

    /// The model as llama.cpp loads it. Traced once.
    pub(super) fn llama(&self) -> Result<Arc<LlamaModel>, PeakError> {
        if let Some(known) = self.llama.get() {
            return Ok(Arc::clone(known));
        }
        let model = Arc::new(LlamaModel::of(self.graph(), self.weights())?);
        Ok(Arc::clone(self.llama.get_or_init(|| model)))
    }

    /// A context that is searched once per kind of GPU and budget.
    fn remembered(
        &self,
        gpu: Gpu,
        budget: Bytes,
        search: impl FnOnce(&Ends<'_>, &Peak) -> Result<MaxContext, PeakError>,
    ) -> Result<MaxContext, PeakError> {
        let key = (gpu.alike(), budget);
        if let Some(known) = lock(&self.contexts).get(&key) {
            return Ok(*known);
        }
        let peak = self.peak_of(gpu, &start(&self.run))?;
        let found = search(&*self.ends(gpu)?, &peak)?;
        lock(&self.contexts).insert(key, found);
        Ok(found)
    }

    /// The ends of prompts on a kind of GPU: those that one search has replayed serve the others.
    fn ends(&self, gpu: Gpu) -> Result<Arc<Ends<'a>>, PeakError> {
        let key = gpu.alike();
        if let Some(known) = lock(&self.ends).get(&key) {
            return Ok(Arc::clone(known));
        }
        let ends = Arc::new(Ends::of(self.graph(), &start(&self.run.in_memory()), key)?);
        Ok(Arc::clone(lock(&self.ends).entry(key).or_insert(ends)))
    }

    /// The peak of the run on a kind of GPU.
    pub(in crate::estimate) fn peak(&self, gpu: Gpu) -> Result<Arc<Peak>, PeakError> {
        self.peak_of(gpu, &self.run)
    }

    /// The peak of the run, or of the same run with another prompt.
    fn peak_of(&self, gpu: Gpu, run: &Run) -> Result<Arc<Peak>, PeakError> {
        let key = (gpu.alike(), run.work.context_tokens);
        if let Some(known) = lock(&self.peaks).get(&key) {
            return Ok(Arc::clone(known));
        }
        // Two threads may simulate the same; neither waits for the other.
        let found = Arc::new(peak::peak(self.graph(), &run.in_memory(), key.0)?);
        Ok(Arc::clone(lock(&self.peaks).entry(key).or_insert(found)))
    }
}

/// A panic elsewhere leaves these maps whole, because entries are only ever added.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
