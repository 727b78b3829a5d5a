//! Looks for the changes that make a plan hold, those that lose least first.

use super::judge::{OnMac, Planned, alone, on, together};
use super::plan::{Plan, ResidentModels};
use super::remedy::{Remedy, by_loss};
use super::requirement::{Requirement, RequirementKind};
use super::training::TrainingCase;
use super::variants::{CaseVariants, Variant};
use crate::advise::offers::{Offer, offers};
use crate::estimate::{EstimateError, Outcome};
use crate::hardware::MacsError;
use crate::hardware::catalog::{Macs, Status};
use crate::hardware::limits::WiredLimitAdvice;
use crate::hardware::machine::Machine;
use crate::ledger::weights::Weights;
use crate::model::quality::PublishedLoss;
use crate::units::Bytes;
use rayon::prelude::*;
use thiserror::Error;

/// Why changes could not be looked for.
#[derive(Debug, Error)]
pub enum RemedyError {
    /// The catalog of Macs has problems.
    #[error(transparent)]
    Catalog(#[from] MacsError),
    /// A model cannot be predicted.
    #[error(transparent)]
    Predict(#[from] EstimateError),
}

/// Chunk lengths that are tried.
const STEPS: [u32; 3] = [1024, 512, 256];
/// Grid of the contexts that are tried.
const GRID: u32 = 256;

/// A plan whose changes are looked for, on one machine.
pub(super) struct Search<'s, 'a> {
    pub plan: &'s Plan,
    pub cases: &'s [Planned<'a>],
    pub trainings: &'s [TrainingCase<'a>],
    pub variants: &'s CaseVariants<'a>,
    pub found: &'s OnMac,
}

impl Search<'_, '_> {
    /// Changes that make every requirement of one workload hold, the smallest first, one of each kind.
    pub fn for_workload(&self, index: usize) -> Result<Vec<Remedy>, EstimateError> {
        let (Some(case), Some(judged)) = (self.cases.get(index), self.found.workloads.get(index))
        else {
            return Ok(Vec::new());
        };
        if judged.outcome() == Outcome::Pass {
            return Ok(Vec::new());
        }
        let r = case.case.run;
        let mut out = Vec::new();
        let memory = judged.requirements.iter().find(|x| x.kind == RequirementKind::Memory);
        if let Some(memory) = memory.filter(|m| m.outcome != Outcome::Pass) {
            let on_mlx = !r.engine.program.runs_gguf();
            for tokens in STEPS.into_iter().filter(|&n| on_mlx && n < r.engine.prefill_step) {
                if self.passes(index, Variant::PrefillStep(tokens))? {
                    out.push(Remedy::PrefillStep { tokens });
                    break;
                }
            }
            if let Some((machine, remedy)) = self.raised(memory, case.case.needs.headroom)
                && alone(self.plan, case, &machine)?.outcome() == Outcome::Pass
            {
                out.push(remedy);
            }
            if r.engine.kv.is_none() {
                for bits in [8, 4] {
                    // The attention of MLX over such a cache is not fused: only small chunks save memory.
                    let prefill_step = on_mlx.then(|| r.engine.prefill_step.min(GRID));
                    let quantized = Variant::KvBits { bits, prefill_step };
                    let Some(loss) = self.loss_of_cache(index, bits) else { continue };
                    if self.is_possible(index, quantized) && self.passes(index, quantized)? {
                        out.push(Remedy::KvBits { bits, prefill_step, workload: None, loss });
                        break;
                    }
                }
            }
        }
        for (i, (quant, _)) in self.variants.smaller(index).iter().enumerate() {
            let Some(loss) = self.loss_of_weights(index, quant) else { continue };
            if self.passes(index, Variant::Smaller(i))? {
                out.push(Remedy::Quantization { quant: quant.clone(), workload: None, loss });
                break;
            }
        }
        if case.case.session.is_some() {
            return Ok(by_loss(out));
        }
        let fewer = |users| self.passes(index, Variant::Users(users));
        out.extend(most_that(1, r.work.batch, &fewer)?.map(|users| Remedy::Users { users }));
        let shorter = |chunks: u32| self.passes(index, Variant::Context(chunks * GRID));
        let longest = most_that(1, r.work.context_tokens.div_ceil(GRID), &shorter)?;
        out.extend(longest.map(|chunks| Remedy::Context { tokens: chunks * GRID }));
        Ok(by_loss(out))
    }

    /// Changes that make all models fit at once, the smallest first.
    pub fn for_all(&self) -> Result<Vec<Remedy>, EstimateError> {
        let Some(memory) = self.found.together.as_ref().filter(|r| r.outcome != Outcome::Pass)
        else {
            return Ok(Vec::new());
        };
        let mut out = Vec::new();
        let of_trainings = self.trainings.iter().map(|t| t.planned.needs.headroom);
        let of_cases = self.cases.iter().map(|c| c.case.needs.headroom);
        let headroom = of_cases.chain(of_trainings).max().unwrap_or(Bytes::ZERO);
        if let Some((machine, remedy)) = self.raised(memory, headroom)
            && on(self.plan, (self.cases, self.trainings), &machine)?
                .together
                .is_some_and(|r| r.outcome == Outcome::Pass)
        {
            out.push(remedy);
        }
        for (index, case) in self.cases.iter().enumerate() {
            let name = || self.plan.workloads.get(index).map(|w| w.name.clone());
            for (i, (quant, _)) in self.variants.smaller(index).iter().enumerate() {
                let Some(loss) = self.loss_of_weights(index, quant) else { continue };
                let smaller = self.variants.of((index, case), Variant::Smaller(i));
                if self.fit_with((index, smaller.as_deref()), None)? {
                    let quant = quant.clone();
                    out.push(Remedy::Quantization { quant, workload: name(), loss });
                    break;
                }
            }
        }
        for index in 0..self.cases.len() {
            if self.cases.len() + self.trainings.len() > 1
                && self.fit_with((index, None), None)?
                && let Some(w) = self.plan.workloads.get(index)
            {
                out.push(Remedy::LeaveOut { workload: w.name.clone() });
            }
        }
        for (index, training) in self.trainings.iter().enumerate() {
            let alone = self.cases.is_empty() && self.trainings.len() == 1;
            if !alone && self.fit_with((usize::MAX, None), Some(index))? {
                out.push(Remedy::LeaveOut { workload: training.planned.name.clone() });
            }
        }
        Ok(by_loss(out))
    }

    /// What is published of a workload's model in another format; `None` where nothing is, or where it collapses.
    fn loss_of_weights(&self, index: usize, quant: &str) -> Option<PublishedLoss> {
        let (id, parameters) = self.cases.get(index)?.estimator.model_size();
        PublishedLoss::of_weights(&id, parameters, quant).filter(|loss| !loss.is_ruinous())
    }

    /// The same of its cache in so many bits.
    fn loss_of_cache(&self, index: usize, bits: u32) -> Option<PublishedLoss> {
        let planned = self.cases.get(index)?;
        let (id, parameters) = planned.estimator.model_size();
        let gguf = planned.case.run.engine.program.runs_gguf();
        PublishedLoss::of_cache_bits(&id, parameters, bits, gguf).filter(|loss| !loss.is_ruinous())
    }

    /// Whether everything fits at once with one case replaced or left out, and without one of the fine-tuning runs.
    fn fit_with(
        &self,
        (index, by): (usize, Option<&Planned<'_>>),
        without: Option<usize>,
    ) -> Result<bool, EstimateError> {
        let machine = &self.found.machine;
        let mut memories = Vec::new();
        for (i, case) in self.cases.iter().enumerate() {
            match (i == index, by) {
                (true, Some(other)) => {
                    memories.push((other.case, other.estimator.memory(machine)?))
                }
                (true, None) => {}
                (false, _) => memories.push((case.case, case.estimator.memory(machine)?)),
            }
        }
        let trained = self.trainings.iter().zip(&self.found.fine_tunings);
        let trained = trained.enumerate().filter(|(i, _)| Some(*i) != without);
        let trained = trained.map(|(_, (training, found))| training.need(found));
        let found = together(self.plan, memories.into_iter(), trained, machine);
        Ok(found.is_some_and(|r| r.outcome == Outcome::Pass))
    }

    /// Whether a workload can run with one thing changed.
    fn is_possible(&self, index: usize, what: Variant) -> bool {
        let planned = self.cases.get(index).and_then(|case| self.variants.of((index, case), what));
        planned.is_some_and(|planned| planned.estimator.possible().is_ok())
    }

    /// Whether a workload passes with one thing changed.
    fn passes(&self, index: usize, what: Variant) -> Result<bool, EstimateError> {
        let Some(case) = self.cases.get(index) else { return Ok(false) };
        let Some(planned) = self.variants.of((index, case), what) else { return Ok(false) };
        if self.is_hopeless(&planned)? {
            return Ok(false);
        }
        Ok(alone(self.plan, &planned, &self.found.machine)?.outcome() == Outcome::Pass)
    }

    /// Whether a case surely does not pass, without the simulation of its memory: its weights alone are beyond every limit, or
    /// it is too slow.
    fn is_hopeless(&self, planned: &Planned<'_>) -> Result<bool, EstimateError> {
        let (case, machine) = (&planned.case, &self.found.machine);
        let on_mlx = !case.run.engine.program.runs_gguf();
        if on_mlx && self.plan.resident == ResidentModels::OneAtATime {
            let weights = Weights::of(&case.model.graph).bytes;
            if weights > machine.gpu_limit.range[1].0 {
                return Ok(true);
            }
        }
        let drafts = case.draft.is_some() || case.run.draft.is_some();
        if drafts || case.session.is_some() || case.needs.rate.is_some() {
            return Ok(false);
        }
        planned.estimator.possible()?;
        let (decode, prefill) = planned.estimator.speeds(machine)?;
        let speeds = Requirement::of_speed(case, &decode, &prefill);
        Ok(speeds.iter().any(|r| r.outcome != Outcome::Pass))
    }

    /// The machine with a GPU limit raised for a need, if that can be.
    fn raised(&self, memory: &Requirement, headroom: Bytes) -> Option<(Machine, Remedy)> {
        let machine = &self.found.machine;
        let need = Bytes(memory.interval_90[1] as u64) + headroom;
        let advice =
            WiredLimitAdvice::for_need(machine.memory.value, machine.gpu_limit.bytes, need)?
                .from(machine.gpu_limit.wired_limit_mib);
        let mut raised = machine.clone();
        raised.gpu_limit = raised.gpu_limit.with_wired_limit(advice.mib);
        Some((raised, Remedy::WiredLimit { command: advice.command, undo: advice.undo }))
    }
}

/// The largest number from `low` up to, not including, `high` for which something holds, if it holds for `low`. What
/// holds for a number is taken to hold for every smaller one.
fn most_that(
    low: u32,
    high: u32,
    holds: &dyn Fn(u32) -> Result<bool, EstimateError>,
) -> Result<Option<u32>, EstimateError> {
    if high <= low || !holds(low)? {
        return Ok(None);
    }
    let (mut low, mut high) = (low, high);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle)? { low = middle } else { high = middle }
    }
    Ok(Some(low))
}

/// The cheapest Mac on sale on which the whole plan passes.
///
/// # Errors
/// When the catalog has problems or a model cannot be predicted.
pub(super) fn cheapest_mac(
    plan: &Plan,
    cases: (&[Planned<'_>], &[TrainingCase<'_>]),
    catalog: &Macs,
) -> Result<Option<(Offer, Machine)>, RemedyError> {
    let mut all = offers(catalog)?;
    all.retain(|(o, _)| o.status == Status::OnSale && o.usd_now.is_some());
    let passing: Vec<(Offer, Machine)> = all
        .into_par_iter()
        .map(|(o, mut m)| {
            m.budget = plan.budget;
            (o, m)
        })
        .map(|(o, m)| Ok((on(plan, cases, &m)?.outcome() == Outcome::Pass).then_some((o, m))))
        .collect::<Result<Vec<_>, EstimateError>>()?
        .into_iter()
        .flatten()
        .collect();
    Ok(passing.into_iter().min_by(|a, b| a.0.price_order().cmp(&b.0.price_order())))
}
