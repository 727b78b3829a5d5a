//! Whether workloads will hold on one Mac or several: a plan file, a verdict with its probability for everything that
//! must hold, and the smallest changes that turn a fail into a pass.

mod case;
mod cluster;
mod cluster_key;
mod draft;
mod engine;
mod judge;
mod lookup;
mod plan;
mod remedy;
mod requirement;
mod search;
mod session_key;
mod training;
mod training_key;
mod variants;

pub use judge::{JudgedWorkload, OnMac};
pub use lookup::Lookup;
pub use plan::{LONGEST, Plan, PlannedWorkload, ResidentModels, WorkloadNeeds, read};
pub use remedy::Remedy;
pub use requirement::{Requirement, RequirementKind};
pub use search::RemedyError;
pub use training::JudgedFineTuning;
pub use training_key::{FineTuningNeeds, PlannedFineTuning};

use crate::advise::offers::Offer;
use crate::estimate::{EstimateError, Outcome};
use crate::hardware::catalog::Macs;
use crate::hardware::machine::Machine;
use crate::roofline::Coefficients;
use rayon::prelude::*;

/// A plan with its verdicts.
#[derive(Clone, Debug)]
pub struct Report {
    /// On every Mac of the plan.
    pub macs: Vec<MacReport>,
    /// The cheapest Mac on sale with a known price on which all of it passes; looked for where it does not.
    pub alternative: Option<(Offer, Machine)>,
    /// Why several Macs cannot run workloads together in one way or another.
    pub not_divided: Vec<String>,
}

/// A plan on one Mac with what would help.
#[derive(Clone, Debug)]
pub struct MacReport {
    /// The verdicts.
    pub found: OnMac,
    /// Changes that help each workload, those that lose least first.
    pub changes: Vec<Vec<Remedy>>,
    /// Changes that help each fine-tuning run, in order of advice.
    pub training_changes: Vec<Vec<Remedy>>,
    /// Changes with which all models fit at once, those that lose least first.
    pub together_changes: Vec<Remedy>,
}

impl Report {
    /// The worst outcome.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.macs.iter().map(|m| m.found.outcome()).max().unwrap_or(Outcome::Pass)
    }
}

/// Checks a plan.
///
/// # Errors
/// When the catalog has problems or mlx-lm could not run a model.
pub fn check(
    plan: &Plan,
    catalog: &Macs,
    coefficients: &Coefficients,
) -> Result<Report, RemedyError> {
    let formats = variants::PlanFormats::of(plan);
    let cases = judge::cases(plan, coefficients);
    let trainings = training::TrainingCase::all(plan, coefficients);
    let variants = variants::CaseVariants::new(coefficients, &formats);
    // Equal Macs are checked once.
    let mut different: Vec<&Machine> = Vec::new();
    let mut which = Vec::new();
    for machine in &plan.macs {
        let known = different.iter().position(|m| *m == machine);
        which.push(known.unwrap_or(different.len()));
        if known.is_none() {
            different.push(machine);
        }
    }
    // A thread for each workload first: what its Macs have in common is then simulated once, not by every thread that asks.
    let on_all = |case| different.iter().try_for_each(|m| judge::alone(plan, case, m).map(drop));
    cases.par_iter().try_for_each(on_all)?;
    let on = |machine: &&Machine| {
        let found = judge::on(plan, (&cases, &trainings), machine)?;
        let search = search::Search {
            plan,
            cases: &cases,
            trainings: &trainings,
            variants: &variants,
            found: &found,
        };
        let changes: Vec<Vec<Remedy>> =
            (0..cases.len()).map(|i| search.for_workload(i)).collect::<Result<_, _>>()?;
        let together_changes = search.for_all()?;
        let of_trainings = trainings.iter().zip(&found.fine_tunings);
        let training_changes = of_trainings
            .map(|(training, judged)| training.remedies(plan, machine, judged))
            .collect::<Result<_, _>>()
            .map_err(EstimateError::from)?;
        Ok(MacReport { found, changes, training_changes, together_changes })
    };
    let of_different: Vec<MacReport> =
        different.par_iter().map(on).collect::<Result<_, RemedyError>>()?;
    let mut macs: Vec<MacReport> =
        which.into_iter().filter_map(|i| of_different.get(i).cloned()).collect();
    let mut not_divided = Vec::new();
    if let Some(cluster) = &plan.cluster
        && let Some((found, reasons)) = cluster::on(plan, &cases, cluster)?
    {
        let changes = found.workloads.iter().map(|_| Vec::new()).collect();
        let (training_changes, together_changes) = (Vec::new(), Vec::new());
        macs.push(MacReport { found, changes, training_changes, together_changes });
        not_divided = reasons;
    }
    let mut report = Report { macs, alternative: None, not_divided };
    if report.outcome() != Outcome::Pass {
        report.alternative = search::cheapest_mac(plan, (&cases, &trainings), catalog)?;
    }
    Ok(report)
}
