//! What holds of a plan on several Macs that run each model together.

use super::case::CheckCase;
use super::judge::{JudgedWorkload, OnMac, Planned, by_figures, together};
use super::plan::{Plan, ResidentModels};
use super::requirement::Requirement;
use crate::advise::cluster::cluster_name;
use crate::estimate::{Cluster, ClusterFigures, EstimateError, Figures, Parallelism};
use crate::hardware::machine::Machine;

/// The Macs of a cluster as one, for tables: the first, under the name of all.
fn as_one(cluster: &Cluster) -> Option<Machine> {
    let mut machine = cluster.machines().first()?.clone();
    machine.id = cluster_name(cluster);
    Some(machine)
}

/// Figures of the fullest Mac, with the speeds of all.
fn fullest(figures: ClusterFigures) -> Option<Figures> {
    let ClusterFigures { nodes, decode, prefill, .. } = figures;
    let fullest = nodes.into_iter().max_by_key(|n| n.memory.peak.peak_bytes)?;
    Some(Figures { memory: fullest.memory, decode, prefill })
}

/// The ways in which a workload may be divided, with what they give; what is refused has its reason.
fn ways(
    planned: &Planned<'_>,
    cluster: &Cluster,
) -> Result<Vec<Result<Figures, String>>, EstimateError> {
    let one = |parallelism| match planned.estimator.on_cluster(cluster, parallelism) {
        Ok(figures) => Ok(fullest(figures).ok_or_else(String::new)),
        Err(EstimateError::Cluster(refusal)) => Ok(Err(refusal.to_string())),
        Err(e) => Err(e),
    };
    Parallelism::ALL.into_iter().map(one).collect()
}

/// A workload that cannot be divided: on one of the Macs, with the requirement that fails.
fn refused(
    plan: &Plan,
    planned: &Planned<'_>,
    machine: &Machine,
) -> Result<JudgedWorkload, EstimateError> {
    let figures = planned.estimator.on(machine)?;
    let mut found = by_figures((plan, planned), machine, figures, None);
    found.requirements = vec![Requirement::of_division(false)];
    Ok(found)
}

/// Judges a plan on a cluster: every workload divided in the way that passes more probably. Beside it, why workloads cannot
/// be divided in some way.
pub(super) fn on(
    plan: &Plan,
    cases: &[Planned<'_>],
    cluster: &Cluster,
) -> Result<Option<(OnMac, Vec<String>)>, EstimateError> {
    let Some(machine) = as_one(cluster) else { return Ok(None) };
    let mut reasons = Vec::new();
    let mut workloads = Vec::new();
    for (planned, workload) in cases.iter().zip(&plan.workloads) {
        let mut best: Option<JudgedWorkload> = None;
        for way in ways(planned, cluster)? {
            match way {
                Ok(figures) => {
                    let found = by_figures((plan, planned), &machine, figures, None);
                    let better =
                        best.as_ref().is_none_or(|b| found.probability() > b.probability());
                    best = if better { Some(found) } else { best };
                }
                Err(reason) => reasons.push(format!("{}: {reason}", workload.name)),
            }
        }
        let found = match best {
            Some(found) => found,
            None => refused(plan, planned, &machine)?,
        };
        workloads.push(found);
    }
    let all = cases.iter().zip(&workloads).map(|(c, j)| (c.case, j.figures.memory.clone()));
    let all: Vec<(CheckCase<'_>, _)> = all.collect();
    let together = match plan.resident {
        ResidentModels::Together => together(plan, all.into_iter(), std::iter::empty(), &machine),
        ResidentModels::OneAtATime => None,
    };
    let fine_tunings = Vec::new();
    Ok(Some((OnMac { machine, workloads, fine_tunings, together }, reasons)))
}
