//! A run with a draft model beside it: what the draft takes of the memory, and the longest context that is left.

use super::Estimator;
use crate::estimate::memory::{MaxContext, default_reserve};
use crate::estimate::opened::OpenedModel;
use crate::hardware::machine::Machine;
use crate::ledger::cache::CacheGrowth;
use crate::ledger::peak::PeakError;
use crate::ledger::weights::Weights;
use crate::units::Bytes;

/// Searches for the longest context: what the draft takes grows with it. An odd number ends below the true one.
const ROUNDS: u32 = 3;

impl<'a> Estimator<'a> {
    /// The same run with a draft model beside it, whose weights and cache count in memory.
    #[must_use]
    pub fn with_draft(self, draft: &'a OpenedModel) -> Self {
        let draft = self.without_draft().of_other(draft);
        Self { draft: Some(Box::new(draft)), ..self }
    }

    /// The same run without a draft.
    #[must_use]
    pub fn without_draft(&self) -> Self {
        Self { draft: None, ..self.with_run(self.run.with_draft(None)) }
    }

    /// What a draft model adds to the peak of the run. Both models are loaded before either reads the prompt; the draft
    /// reads it first and keeps its cache.
    pub(in crate::estimate) fn beside(
        &self,
        machine: &Machine,
        draft: &Estimator<'_>,
    ) -> Result<Bytes, PeakError> {
        let machine = &*self.granted(machine);
        if self.run.engine.program.runs_gguf() {
            return Ok(Bytes(draft.memory(machine)?.peak.peak_bytes));
        }
        let (own, other) = (self.peak(self.gpu(machine))?, draft.peak(draft.gpu(machine))?);
        let kept = other.weights_bytes + draft.cache_bytes(draft.run.total_tokens())?;
        let while_draft_reads = own.weights_bytes + other.peak_bytes;
        Ok(Bytes(while_draft_reads.saturating_sub(own.peak_bytes).max(kept)))
    }

    fn cache_bytes(&self, tokens: u32) -> Result<u64, PeakError> {
        let engine = &self.run.engine;
        let growth = CacheGrowth::of(self.graph(), engine.prefill_step, 1, engine.kv)?;
        Ok(growth.bytes(tokens)?)
    }

    /// What a draft model keeps beside a run of so many tokens.
    fn kept_by(&self, draft: &Self, machine: &Machine, tokens: u32) -> Result<Bytes, PeakError> {
        if self.run.engine.program.runs_gguf() {
            let prompt = tokens.saturating_sub(self.run.work.generate_tokens).max(1);
            let longer = draft.with_run(draft.run.with_context(prompt));
            return Ok(Bytes(longer.memory(machine)?.peak.peak_bytes));
        }
        Ok(Bytes(Weights::of(draft.graph()).active_bytes + draft.cache_bytes(tokens)?))
    }

    /// The longest context by a search, with room for the draft where there is one.
    pub(super) fn with_room(
        &self,
        machine: &Machine,
        search: impl Fn(&Self, &Machine) -> Result<MaxContext, PeakError>,
    ) -> Result<MaxContext, PeakError> {
        let Some(draft) = &self.draft else { return search(self, machine) };
        let alone = self.without_draft();
        let memory = machine.memory.value;
        let reserve = self.run.engine.reserve.unwrap_or_else(|| default_reserve(memory));
        let mut found = search(&alone, machine)?;
        for _ in 0..ROUNDS {
            let taken = self.kept_by(draft, machine, found.tokens)?;
            let tighter = alone.with_run(alone.run.with_reserve(Some(reserve + taken)));
            let next = search(&tighter, &leaving(machine, taken))?;
            if next == found {
                break;
            }
            found = next;
        }
        Ok(found)
    }
}

/// A machine of whose GPU limit and budget something else takes so much.
fn leaving(machine: &Machine, taken: Bytes) -> Machine {
    let mut machine = machine.clone();
    let limit = &mut machine.gpu_limit;
    limit.bytes = limit.bytes.saturating_sub(taken);
    limit.range = limit.range.map(|bytes| bytes.saturating_sub(taken));
    machine.budget = machine.budget.map(|bytes| bytes.saturating_sub(taken));
    machine
}
