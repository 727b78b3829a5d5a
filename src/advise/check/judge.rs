//! A plan on one machine.

use super::plan::{Needs, Plan, Resident};
use super::requirement::Requirement;
use crate::estimate::memory::Memory;
use crate::estimate::{EstimateError, Estimator, Figures, Outcome, Run};
use crate::graph::Graph;
use crate::hardware::machine::Machine;
use crate::roofline::Coefficients;

/// A workload reduced to what is judged.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    /// What the workload's process holds: workloads of the same model in the same format share one.
    pub process: (&'a str, &'a str),
    pub graph: &'a Graph,
    pub run: Run,
    pub needs: Needs,
}

/// A case with its estimator.
pub(super) struct Planned<'a> {
    pub case: Case<'a>,
    pub estimator: Estimator<'a>,
}

impl<'a> Planned<'a> {
    pub fn new(coefficients: &'a Coefficients, case: Case<'a>) -> Self {
        Self { case, estimator: Estimator::of_graph(coefficients, case.graph, case.run) }
    }

    /// The same with another run whose cache is quantised alike.
    pub fn with_run(&self, run: Run) -> Self {
        Self { case: Case { run, ..self.case }, estimator: self.estimator.with_run(run) }
    }
}

/// The cases of a plan.
pub(super) fn cases<'a>(plan: &'a Plan, coefficients: &'a Coefficients) -> Vec<Planned<'a>> {
    let case = |w: &'a super::plan::Workload| Case {
        process: (&w.subject.id, &w.subject.quant),
        graph: &w.subject.graph,
        run: w.run,
        needs: w.needs,
    };
    plan.workloads.iter().map(|w| Planned::new(coefficients, case(w))).collect()
}

/// A workload on a machine.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Memory and speeds.
    pub figures: Figures,
    /// What must hold.
    pub requirements: Vec<Requirement>,
}

impl Judged {
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

/// A plan on a machine.
#[derive(Clone, Debug)]
pub struct OnMac {
    /// The machine.
    pub machine: Machine,
    /// The workloads in the order of the plan.
    pub workloads: Vec<Judged>,
    /// Whether all models fit at once, if they are to.
    pub together: Option<Requirement>,
}

impl OnMac {
    /// The worst outcome.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let together = self.together.iter().map(|r| r.outcome);
        self.workloads.iter().map(Judged::outcome).chain(together).max().unwrap_or(Outcome::Pass)
    }

    /// Probability of everything together, as if all were independent.
    #[must_use]
    pub fn probability(&self) -> f64 {
        let together = self.together.as_ref().map_or(1.0, |r| r.probability);
        self.workloads.iter().map(Judged::probability).product::<f64>() * together
    }
}

/// Judges one workload by itself. Where all models are in memory at once, its own memory is no requirement.
pub(super) fn alone(
    plan: &Plan,
    planned: &Planned<'_>,
    machine: &Machine,
) -> Result<Judged, EstimateError> {
    let figures = planned.estimator.on(machine)?;
    let case = &planned.case;
    let mut requirements = Vec::new();
    if plan.resident == Resident::OneAtATime {
        let reserve = plan.reserve_on(machine);
        requirements.extend(Requirement::of_memory(
            &[&figures.memory],
            machine,
            reserve,
            case.needs.headroom,
        ));
    }
    requirements.extend(Requirement::of_context(case));
    requirements.extend(Requirement::of_speed(case, &figures));
    Ok(Judged { figures, requirements })
}

/// Judges whether the models fit at once: every process at the peak of its largest workload.
pub(super) fn together<'a>(
    plan: &Plan,
    memories: impl Iterator<Item = (Case<'a>, Memory)>,
    machine: &Machine,
) -> Option<Requirement> {
    let mut processes: Vec<((&str, &str), Memory)> = Vec::new();
    let mut headroom = crate::units::Bytes::ZERO;
    for (case, memory) in memories {
        headroom = headroom.max(case.needs.headroom);
        match processes.iter_mut().find(|(process, _)| *process == case.process) {
            None => processes.push((case.process, memory)),
            Some((_, known)) if memory.peak.peak_bytes > known.peak.peak_bytes => *known = memory,
            Some(_) => {}
        }
    }
    let memories: Vec<&Memory> = processes.iter().map(|(_, m)| m).collect();
    Requirement::of_memory(&memories, machine, plan.reserve_on(machine), headroom)
}

/// Judges a plan on a machine.
pub(super) fn on(
    plan: &Plan,
    cases: &[Planned<'_>],
    machine: &Machine,
) -> Result<OnMac, EstimateError> {
    let workloads: Vec<Judged> =
        cases.iter().map(|c| alone(plan, c, machine)).collect::<Result<_, _>>()?;
    let all = cases.iter().zip(&workloads).map(|(c, j)| (c.case, j.figures.memory.clone()));
    let together = match plan.resident {
        Resident::Together => together(plan, all, machine),
        Resident::OneAtATime => None,
    };
    Ok(OnMac { machine: machine.clone(), workloads, together })
}
