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
mod variants;

pub use judge::{JudgedWorkload, OnMac};
pub use lookup::Lookup;
pub use plan::{LONGEST, Plan, PlannedWorkload, ResidentModels, WorkloadNeeds, read};
pub use remedy::{Remedy, RemedyError};
pub use requirement::{Requirement, RequirementKind};

use crate::advise::offers::Offer;
use crate::estimate::Outcome;
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
        let found = judge::on(plan, &cases, machine)?;
        let search = remedy::Search { plan, cases: &cases, variants: &variants, found: &found };
        let changes: Vec<Vec<Remedy>> =
            (0..cases.len()).map(|i| search.for_workload(i)).collect::<Result<_, _>>()?;
        let together_changes = search.for_all()?;
        Ok(MacReport { found, changes, together_changes })
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
        macs.push(MacReport { found, changes, together_changes: Vec::new() });
        not_divided = reasons;
    }
    let mut report = Report { macs, alternative: None, not_divided };
    if report.outcome() != Outcome::Pass {
        report.alternative = remedy::cheapest_mac(plan, &cases, catalog)?;
    }
    Ok(report)
}
