//! The changes that make a plan hold, those that lose least first.

use super::judge::{OnMac, Planned, alone, on, together};
use super::plan::Plan;
use super::requirement::{Requirement, RequirementKind};
use super::variants::{CaseVariants, Variant};
use crate::advise::offers::{Offer, offers};
use crate::estimate::{EstimateError, Outcome};
use crate::hardware::MacsError;
use crate::hardware::catalog::{Macs, Status};
use crate::hardware::limits::WiredLimitAdvice;
use crate::hardware::machine::Machine;
use crate::model::quality::{PublishedLoss, is_below_four_bits};
use crate::units::Bytes;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use thiserror::Error;

/// A change with which a requirement holds that did not hold before.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Remedy {
    /// Smaller prefill chunks.
    PrefillStep {
        /// Tokens of a chunk.
        tokens: u32,
    },
    /// A raised GPU memory limit.
    WiredLimit {
        /// The command.
        command: String,
        /// The command that undoes it.
        undo: String,
    },
    /// A quantized cache, in smaller chunks because its attention is not fused.
    KvBits {
        /// Bits per element.
        bits: u32,
        /// Tokens of a chunk, where that must be smaller too.
        prefill_step: Option<u32>,
        /// The workload, where several are meant to fit together.
        workload: Option<String>,
        /// What is lost, as published.
        loss: PublishedLoss,
    },
    /// A smaller format of the weights.
    Quantization {
        /// The scheme.
        quant: String,
        /// The workload, where several are meant to fit together.
        workload: Option<String>,
        /// What is lost, as published.
        loss: PublishedLoss,
    },
    /// Fewer users at once.
    Users {
        /// So many.
        users: u32,
    },
    /// A shorter prompt.
    Context {
        /// Tokens.
        tokens: u32,
    },
    /// One workload less.
    LeaveOut {
        /// Its name.
        workload: String,
    },
}

impl Remedy {
    /// The change in words.
    #[must_use]
    pub fn text(&self) -> String {
        let of = |w: &Option<String>| w.as_ref().map_or(String::new(), |w| format!(" for {w}"));
        match self {
            Self::PrefillStep { tokens } => format!("prefill_step = {tokens}"),
            Self::WiredLimit { command, undo } => format!("{command} (undo: {undo})"),
            Self::KvBits { bits, prefill_step, workload, loss } => {
                let chunk = prefill_step
                    .map_or_else(String::new, |step| format!(" with prefill_step = {step}"));
                format!("kv_bits = {bits}{chunk}{}, which loses {}", of(workload), loss.text())
            }
            Self::Quantization { quant, workload, loss } => {
                let below = if is_below_four_bits(quant) {
                    "; below four bits quality falls fast"
                } else {
                    ""
                };
                format!("quant = \"{quant}\"{}, which loses {}{below}", of(workload), loss.text())
            }
            Self::Users { users } => format!("users = {users}"),
            Self::Context { tokens } => format!("context = {tokens}"),
            Self::LeaveOut { workload } => format!("without {workload}"),
        }
    }
}

impl Remedy {
    /// What is lost of quality at worst, in percent; 0 where all bits are kept.
    fn worst(&self) -> f64 {
        match self {
            Self::KvBits { loss, .. } | Self::Quantization { loss, .. } => loss.worst().max(0.0),
            _ => 0.0,
        }
    }
}

/// Those that lose least first; among equals the order in which they were looked for: the smallest change first.
fn by_loss(mut all: Vec<Remedy>) -> Vec<Remedy> {
    all.sort_by(|a, b| a.worst().total_cmp(&b.worst()));
    all
}

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
        let headroom =
            self.cases.iter().map(|c| c.case.needs.headroom).max().unwrap_or(Bytes::ZERO);
        if let Some((machine, remedy)) = self.raised(memory, headroom)
            && on(self.plan, self.cases, &machine)?
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
                if self.fit_with(index, smaller.as_deref())? {
                    let quant = quant.clone();
                    out.push(Remedy::Quantization { quant, workload: name(), loss });
                    break;
                }
            }
        }
        for index in 0..self.cases.len() {
            if self.cases.len() > 1
                && self.fit_with(index, None)?
                && let Some(w) = self.plan.workloads.get(index)
            {
                out.push(Remedy::LeaveOut { workload: w.name.clone() });
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

    /// Whether everything fits at once with one case replaced or left out.
    fn fit_with(&self, index: usize, by: Option<&Planned<'_>>) -> Result<bool, EstimateError> {
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
        let found = together(self.plan, memories.into_iter(), machine);
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
        Ok(alone(self.plan, &planned, &self.found.machine)?.outcome() == Outcome::Pass)
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
    cases: &[Planned<'_>],
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
