//! Fine-tuning runs of a plan on a machine, and the changes that make them hold.

use super::plan::{Plan, ResidentModels};
use super::remedy::Remedy;
use super::requirement::{MemoryNeed, Requirement};
use super::training_key::PlannedFineTuning;
use crate::advise::finetune::candidates;
use crate::estimate::training::peaks;
use crate::estimate::{Basis, Estimator, Outcome, TrainingEstimate, gpu};
use crate::graph::training::{FineTuneType, FineTuning};
use crate::hardware::limits::WiredLimitAdvice;
use crate::hardware::machine::Machine;
use crate::ledger::replay::Gpu;
use crate::ledger::training::{TrainingError, TrainingLedger};
use crate::model::Scheme;
use crate::model::quality::PublishedLoss;
use crate::roofline::Coefficients;
use crate::units::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A fine-tuning run on a machine.
#[derive(Clone, Debug)]
pub struct JudgedFineTuning {
    /// What it takes.
    pub estimate: TrainingEstimate,
    /// What must hold.
    pub requirements: Vec<Requirement>,
}

impl JudgedFineTuning {
    /// The worst outcome.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.requirements.iter().map(|r| r.outcome).max().unwrap_or(Outcome::Pass)
    }

    /// Probability of all together, as if they were independent.
    #[must_use]
    pub fn probability(&self) -> f64 {
        self.requirements.iter().map(|r| r.probability).product()
    }
}

/// A run with its estimator, and the peaks that were found so far.
pub(super) struct TrainingCase<'a> {
    pub planned: &'a PlannedFineTuning,
    estimator: Estimator<'a>,
    known: Mutex<HashMap<(FineTuning, Gpu), (TrainingLedger, u64)>>,
}

impl<'a> TrainingCase<'a> {
    pub fn new(coefficients: &'a Coefficients, planned: &'a PlannedFineTuning) -> Self {
        let estimator = Estimator::new(coefficients, &planned.subject, planned.run, Basis::Spec);
        Self { planned, estimator, known: Mutex::default() }
    }

    /// The runs of a plan.
    pub fn all(plan: &'a Plan, coefficients: &'a Coefficients) -> Vec<Self> {
        plan.fine_tunings.iter().map(|planned| Self::new(coefficients, planned)).collect()
    }

    /// What the run takes with some options on a machine; peaks are found once for each kind of GPU.
    fn estimate(
        &self,
        machine: &Machine,
        run: &FineTuning,
    ) -> Result<TrainingEstimate, TrainingError> {
        let gpu = gpu(machine, &self.estimator.run().engine).alike();
        let key = (run.clone(), gpu);
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().get(&key).cloned();
        let found = match found {
            Some(found) => found,
            None => {
                let found = peaks(self.estimator.graph(), run, gpu)?;
                known().insert(key, found.clone());
                found
            }
        };
        Ok(self.estimator.judged(machine, run, found))
    }

    /// Judges the run as planned. Where all models are in memory at once, its own memory is no requirement.
    pub fn judge(&self, plan: &Plan, machine: &Machine) -> Result<JudgedFineTuning, TrainingError> {
        self.with(plan, machine, &self.planned.training)
    }

    fn with(
        &self,
        plan: &Plan,
        machine: &Machine,
        run: &FineTuning,
    ) -> Result<JudgedFineTuning, TrainingError> {
        let estimate = self.estimate(machine, run)?;
        Ok(self.by_estimate(plan, machine, estimate))
    }

    fn by_estimate(
        &self,
        plan: &Plan,
        machine: &Machine,
        estimate: TrainingEstimate,
    ) -> JudgedFineTuning {
        let needs = self.planned.needs;
        let mut requirements = Vec::new();
        if plan.resident == ResidentModels::OneAtATime {
            let need = [MemoryNeed::of_training(&estimate)];
            let reserve = plan.reserve_on(machine);
            requirements.extend(Requirement::of_needs(&need, machine, reserve, needs.headroom));
        }
        let (iters, fill) = (self.planned.iters, self.planned.fill);
        requirements.extend(Requirement::of_training(&needs, &estimate.speed, (iters, fill)));
        JudgedFineTuning { estimate, requirements }
    }

    /// Changes that make every requirement of the run hold, in order of advice.
    pub fn remedies(
        &self,
        plan: &Plan,
        machine: &Machine,
        found: &JudgedFineTuning,
    ) -> Result<Vec<Remedy>, TrainingError> {
        if found.outcome() == Outcome::Pass {
            return Ok(Vec::new());
        }
        let mut out = Vec::new();
        for candidate in candidates(&self.planned.training, self.estimator.graph().layers()) {
            // What mlx-lm refuses helps nobody.
            let Ok(then) = self.with(plan, machine, &candidate.run) else { continue };
            if then.outcome() == Outcome::Pass {
                out.push(Remedy::FineTuning {
                    keys: candidate.keys,
                    costs: candidate.costs.to_owned(),
                });
            }
        }
        out.extend(self.raised(plan, machine, found)?);
        out.extend(self.quantized(plan, machine));
        Ok(out)
    }

    /// A raised GPU limit.
    fn raised(
        &self,
        plan: &Plan,
        machine: &Machine,
        found: &JudgedFineTuning,
    ) -> Result<Option<Remedy>, TrainingError> {
        let [_, most] = found.estimate.peak_interval_90;
        let need = most + self.planned.needs.headroom;
        let limit = &machine.gpu_limit;
        let advice = WiredLimitAdvice::for_need(machine.memory.value, limit.bytes, need);
        let Some(advice) = advice.map(|a| a.from(limit.wired_limit_mib)) else { return Ok(None) };
        let mut raised = machine.clone();
        raised.gpu_limit = raised.gpu_limit.with_wired_limit(advice.mib);
        let passes = self.judge(plan, &raised)?.outcome() == Outcome::Pass;
        let remedy = Remedy::WiredLimit { command: advice.command, undo: advice.undo };
        Ok(passes.then_some(remedy))
    }

    /// A base in 4 bit instead of 16.
    fn quantized(&self, plan: &Plan, machine: &Machine) -> Option<Remedy> {
        let plain = matches!(self.estimator.graph().uniform_scheme(), Some(Scheme::Float(_)));
        if !plain || self.planned.training.kind == FineTuneType::Full {
            return None;
        }
        let packed = self.planned.subject.requantized(Scheme::DEFAULT)?;
        let other = self.estimator.of_other(&packed);
        let estimate = other.fine_tuning(machine, &self.planned.training).ok()?;
        let then = self.by_estimate(plan, machine, estimate);
        let (id, parameters) = self.estimator.model_size();
        let quant = Scheme::DEFAULT.suffix();
        let loss =
            PublishedLoss::of_weights(&id, parameters, &quant).filter(|l| !l.is_ruinous())?;
        (then.outcome() == Outcome::Pass).then_some(Remedy::Quantization {
            quant,
            workload: None,
            loss,
        })
    }

    /// The memory of the run beside that of others.
    pub fn need(&self, found: &JudgedFineTuning) -> (MemoryNeed, Bytes) {
        (MemoryNeed::of_training(&found.estimate), self.planned.needs.headroom)
    }
}
