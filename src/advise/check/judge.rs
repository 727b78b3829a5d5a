//! A plan on one machine.

use super::case::CheckCase;
use super::plan::{Plan, ResidentModels};
use super::requirement::{MemoryNeed, Requirement};
use super::training::{JudgedFineTuning, TrainingCase};
use crate::advise::serving::{UnderRate, UsersOn};
use crate::advise::session::longest_wait;
use crate::estimate::memory::Memory;
use crate::estimate::speculation::DraftChoice;
use crate::estimate::{EstimateError, Estimator, Figures, Outcome, Run, TimeRange, Warning};
use crate::hardware::machine::Machine;
use crate::roofline::Coefficients;
use crate::units::Bytes;

/// A case with its estimator.
pub(super) struct Planned<'a> {
    pub case: CheckCase<'a>,
    pub estimator: Estimator<'a>,
}

impl<'a> Planned<'a> {
    pub fn new(coefficients: &'a Coefficients, case: CheckCase<'a>) -> Self {
        let mut estimator = Estimator::new(coefficients, case.model, case.run, case.basis.clone());
        if let Some(draft) = case.draft {
            estimator = estimator.with_draft(draft);
        }
        // A GGUF file is run by llama.cpp whatever was asked for.
        Self { case: CheckCase { run: *estimator.run(), ..case }, estimator }
    }

    /// The same with another run whose cache is quantized alike.
    pub fn with_run(&self, run: Run) -> Self {
        Self { case: CheckCase { run, ..self.case }, estimator: self.estimator.with_run(run) }
    }
}

/// The cases of a plan.
pub(super) fn cases<'a>(plan: &'a Plan, coefficients: &'a Coefficients) -> Vec<Planned<'a>> {
    let case = |w: &'a super::plan::PlannedWorkload| CheckCase {
        process: (&w.subject.id, &w.subject.quant),
        model: &w.subject,
        basis: &w.basis,
        draft: w.draft.as_ref(),
        session: w.session.as_ref(),
        run: w.run,
        needs: w.needs,
    };
    plan.workloads.iter().map(|w| Planned::new(coefficients, case(w))).collect()
}

/// A workload on a machine.
#[derive(Clone, Debug)]
pub struct JudgedWorkload {
    /// The run as it is predicted: with the program that runs the file.
    pub run: Run,
    /// The format of the weights that the program runs.
    pub quant: String,
    /// What was taken for granted of model and engine.
    pub doubts: Vec<Warning>,
    /// Memory and speeds.
    pub figures: Figures,
    /// What must hold.
    pub requirements: Vec<Requirement>,
}

impl JudgedWorkload {
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
    pub workloads: Vec<JudgedWorkload>,
    /// The fine-tuning runs in the order of the plan.
    pub fine_tunings: Vec<JudgedFineTuning>,
    /// Whether all models fit at once, if they are to.
    pub together: Option<Requirement>,
}

impl OnMac {
    /// The worst outcome.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let together = self.together.iter().map(|r| r.outcome);
        self.workloads
            .iter()
            .map(JudgedWorkload::outcome)
            .chain(self.fine_tunings.iter().map(JudgedFineTuning::outcome))
            .chain(together)
            .max()
            .unwrap_or(Outcome::Pass)
    }

    /// Probability of everything together, as if all were independent.
    #[must_use]
    pub fn probability(&self) -> f64 {
        let together = self.together.as_ref().map_or(1.0, |r| r.probability);
        let trainings: f64 = self.fine_tunings.iter().map(JudgedFineTuning::probability).product();
        self.workloads.iter().map(JudgedWorkload::probability).product::<f64>()
            * trainings
            * together
    }
}

/// The figures of a workload with the drafts that it has: as fast, over the whole interval, as they make it.
fn with_drafts(
    planned: &Planned<'_>,
    mut figures: Figures,
    machine: &Machine,
) -> Result<Figures, EstimateError> {
    let choice = match (planned.case.draft, planned.case.run.draft) {
        (Some(model), _) => DraftChoice::Model(model),
        (None, Some(_)) => DraftChoice::Heads,
        (None, None) => return Ok(figures),
    };
    let found = planned.estimator.speculation(machine, &[choice])?;
    for draft in &found.drafts {
        if let (Some(times), Some([low, high])) = (draft.speedup, draft.interval_90) {
            figures.decode.scale(times, [low, high]);
        }
        figures.prefill.ttft_s = draft.ttft_s.unwrap_or(figures.prefill.ttft_s);
    }
    Ok(figures)
}

/// Judges one workload by itself.
pub(super) fn alone(
    plan: &Plan,
    planned: &Planned<'_>,
    machine: &Machine,
) -> Result<JudgedWorkload, EstimateError> {
    let figures = with_drafts(planned, planned.estimator.on(machine)?, machine)?;
    Ok(by_figures((plan, planned), machine, figures, seen(planned, machine)?))
}

/// What is seen of a workload beyond the figures of its run.
pub(super) enum Seen {
    /// By users of a server, where requests arrive at a rate.
    Load(Box<UnderRate>),
    /// By an agent: the longest wait for a first token of all turns.
    Session(TimeRange),
}

/// Judges one workload by its figures on a machine, and by what else is seen of it. Where all models are in memory at once, its own memory is no requirement.
pub(super) fn by_figures(
    (plan, planned): (&Plan, &Planned<'_>),
    machine: &Machine,
    figures: Figures,
    seen: Option<Seen>,
) -> JudgedWorkload {
    let case = &planned.case;
    let mut requirements = Vec::new();
    if plan.resident == ResidentModels::OneAtATime {
        let reserve = plan.reserve_on(machine);
        let need = [MemoryNeed::of(&figures.memory)];
        requirements.extend(Requirement::of_needs(&need, machine, reserve, case.needs.headroom));
    }
    requirements.extend(Requirement::of_context(case));
    requirements.extend(match seen {
        Some(Seen::Load(load)) => Requirement::of_load(case, &load),
        Some(Seen::Session(wait)) => Requirement::of_session(case, &figures, wait),
        None => Requirement::of_speed(case, &figures.decode, &figures.prefill),
    });
    let (quant, doubts) = (planned.estimator.quant(), planned.estimator.doubts().to_vec());
    JudgedWorkload { run: case.run, quant, doubts, figures, requirements }
}

fn seen(planned: &Planned<'_>, machine: &Machine) -> Result<Option<Seen>, EstimateError> {
    let CheckCase { needs, session, .. } = planned.case;
    if let (Some(session), Some(_)) = (session, needs.max_ttft_s) {
        let wait = longest_wait(&planned.estimator, machine, session)?;
        return Ok(wait.map(Seen::Session));
    }
    let Some(rate) = needs.rate else { return Ok(None) };
    let users = planned.case.run.work.batch;
    let load = UsersOn::new(&planned.estimator, machine)?.under(rate, users)?;
    Ok(load.map(|load| Seen::Load(Box::new(load))))
}

/// Judges whether the models fit at once: every process at the peak of its largest workload, and fine-tuning runs beside them.
pub(super) fn together<'a>(
    plan: &Plan,
    memories: impl Iterator<Item = (CheckCase<'a>, Memory)>,
    trainings: impl Iterator<Item = (MemoryNeed, Bytes)>,
    machine: &Machine,
) -> Option<Requirement> {
    let mut processes: Vec<((&str, &str), Memory)> = Vec::new();
    let mut headroom = Bytes::ZERO;
    for (case, memory) in memories {
        headroom = headroom.max(case.needs.headroom);
        match processes.iter_mut().find(|(process, _)| *process == case.process) {
            None => processes.push((case.process, memory)),
            Some((_, known)) if memory.peak.peak_bytes > known.peak.peak_bytes => *known = memory,
            Some(_) => {}
        }
    }
    let mut needs: Vec<MemoryNeed> = processes.iter().map(|(_, m)| MemoryNeed::of(m)).collect();
    for (need, own_headroom) in trainings {
        headroom = headroom.max(own_headroom);
        needs.push(need);
    }
    Requirement::of_needs(&needs, machine, plan.reserve_on(machine), headroom)
}

/// Judges a plan on a machine.
pub(super) fn on(
    plan: &Plan,
    (cases, trainings): (&[Planned<'_>], &[TrainingCase<'_>]),
    machine: &Machine,
) -> Result<OnMac, EstimateError> {
    let workloads: Vec<JudgedWorkload> =
        cases.iter().map(|c| alone(plan, c, machine)).collect::<Result<_, _>>()?;
    let fine_tunings: Vec<JudgedFineTuning> =
        trainings.iter().map(|t| t.judge(plan, machine)).collect::<Result<_, _>>()?;
    let all = cases.iter().zip(&workloads).map(|(c, j)| (c.case, j.figures.memory.clone()));
    let trained = trainings.iter().zip(&fine_tunings).map(|(t, found)| t.need(found));
    let together = match plan.resident {
        ResidentModels::Together => together(plan, all, trained, machine),
        ResidentModels::OneAtATime => None,
    };
    Ok(OnMac { machine: machine.clone(), workloads, fine_tunings, together })
}
