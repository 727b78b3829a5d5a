//! The answer of `mlxplan check`.

use super::training::FineTuningAnswer;
use crate::advise::Offer;
use crate::advise::check::{
    JudgedWorkload, MacReport, Plan, PlannedWorkload, Remedy, Report, Requirement, RequirementKind,
    ResidentModels, WorkloadNeeds,
};
use crate::advise::cluster::cluster_name;
use crate::advise::session::SessionSpec;
use crate::chart::{Chart, NamedBar};
use crate::cli::shared::keys::ModelKey;
use crate::cli::shared::words::{engine_text, percent};
use crate::estimate::{Outcome, RunKeys};
use crate::hardware::catalog::AS_OF;
use crate::hardware::machine::MachineSummary;
use crate::report::{Column, Document, Present, Table};
use crate::units::{Bytes, Seconds, TokensPerSecond};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use schemars::JsonSchema;
use serde::Serialize;

/// The object `mlxplan.check/1`.
#[derive(Serialize, JsonSchema)]
pub(in crate::cli) struct CheckAnswer {
    /// Name of the plan.
    plan: String,
    /// Whether all of it holds on every Mac.
    outcome: Outcome,
    /// Whether the models are in memory at once.
    resident: ResidentModels,
    /// What was found on each Mac.
    macs: Vec<MacAnswer>,
    /// The cheapest Mac on which all of it passes as it is.
    alternative: Option<Alternative>,
    /// Remarks.
    notes: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Alternative {
    /// What is sold.
    offer: Offer,
    /// The machine that it is.
    machine: MachineSummary,
}

/// A Mac of the plan.
#[derive(Serialize, JsonSchema)]
struct MacAnswer {
    /// The machine.
    machine: MachineSummary,
    /// Memory kept for macOS and other programs.
    reserve_bytes: Bytes,
    /// Whether everything holds here.
    outcome: Outcome,
    /// Probability that everything holds, as if the errors were independent.
    probability: f64,
    /// The memory of all models at once, where they are meant to be.
    together: Option<Requirement>,
    /// Changes that make all models fit at once.
    together_changes: Vec<Remedy>,
    /// The workloads, in the order of the plan.
    workloads: Vec<WorkloadAnswer>,
    /// The fine-tuning runs, in the order of the plan.
    fine_tunings: Vec<FineTuningAnswer>,
}

/// A workload on a Mac.
#[derive(Serialize, JsonSchema)]
struct WorkloadAnswer {
    /// Its name.
    name: String,
    /// Its model.
    model: ModelKey,
    /// The run.
    request: RunKeys,
    /// The session that it is, whose longest turn the run is; `null` of other workloads.
    session: Option<SessionSpec>,
    /// What it asks for.
    needs: WorkloadNeeds,
    /// Whether all requirements hold.
    outcome: Outcome,
    /// Probability that they do.
    probability: f64,
    /// Each requirement.
    requirements: Vec<Requirement>,
    /// Changes that make it hold, those that lose least first.
    changes: Vec<Remedy>,
    /// Predicted memory.
    memory: PeakKeys,
    /// Predicted decode speed.
    decode: RateKeys,
    /// Predicted prefill speed.
    prefill: TtftKeys,
}

#[derive(Serialize, JsonSchema)]
struct PeakKeys {
    /// Peak of MLX's memory.
    peak_bytes: u64,
    /// Where nine of ten peaks lie.
    peak_interval_90_bytes: [Bytes; 2],
}

#[derive(Serialize, JsonSchema)]
struct RateKeys {
    /// Tokens per second.
    tokens_per_s: f64,
    /// Where nine of ten measurements lie.
    interval_90: [f64; 2],
}

#[derive(Serialize, JsonSchema)]
struct TtftKeys {
    /// Tokens per second.
    tokens_per_s: f64,
    /// Seconds to the first token.
    ttft_s: f64,
    /// Where nine of ten times lie.
    ttft_interval_90_s: [f64; 2],
}

impl CheckAnswer {
    /// What was found for a plan.
    pub fn of(plan: &Plan, report: Report) -> Self {
        Self {
            plan: plan.name.clone(),
            outcome: report.outcome(),
            resident: plan.resident,
            notes: notes(plan, &report),
            macs: report.macs.into_iter().map(|m| MacAnswer::of(plan, m)).collect(),
            alternative: report
                .alternative
                .map(|(offer, machine)| Alternative { offer, machine: machine.summary() }),
        }
    }
}

impl MacAnswer {
    fn of(plan: &Plan, mac: MacReport) -> Self {
        let MacReport { found, changes, training_changes, together_changes } = mac;
        let trainings = plan.fine_tunings.iter().zip(&found.fine_tunings).zip(training_changes);
        let all = plan.workloads.iter().zip(&found.workloads).zip(changes);
        Self {
            machine: found.machine.summary(),
            reserve_bytes: plan.reserve_on(&found.machine),
            outcome: found.outcome(),
            probability: found.probability(),
            workloads: all.map(|((w, judged), c)| WorkloadAnswer::of(w, judged, c)).collect(),
            fine_tunings: trainings
                .map(|((t, judged), c)| FineTuningAnswer::of(t, judged, c))
                .collect(),
            together: found.together,
            together_changes,
        }
    }

    /// Each requirement with the name of what asks for it, and what would make it hold.
    fn requirements(&self) -> impl Iterator<Item = (&str, &Requirement, &[Remedy])> {
        let together = self.together.iter().map(|r| (TOGETHER, r, &self.together_changes[..]));
        let each = self
            .workloads
            .iter()
            .flat_map(|w| w.requirements.iter().map(|r| (w.name.as_str(), r, &w.changes[..])));
        let trainings = self
            .fine_tunings
            .iter()
            .flat_map(|t| t.requirements.iter().map(|r| (t.name.as_str(), r, &t.changes[..])));
        together.chain(each).chain(trainings)
    }
}

impl WorkloadAnswer {
    fn of(w: &PlannedWorkload, judged: &JudgedWorkload, changes: Vec<Remedy>) -> Self {
        let (f, run) = (&judged.figures, &judged.run);
        let ttft = f.prefill.ttft_at(f.prefill.interval_90, &run.work);
        Self {
            name: w.name.clone(),
            model: ModelKey { id: w.subject.id.clone(), quant: judged.quant.clone() },
            request: RunKeys::of(run),
            session: w.session.clone(),
            needs: w.needs,
            outcome: judged.outcome(),
            probability: judged.probability(),
            requirements: judged.requirements.clone(),
            changes,
            memory: PeakKeys {
                peak_bytes: f.memory.peak.peak_bytes,
                peak_interval_90_bytes: f.memory.peak_interval_90,
            },
            decode: RateKeys {
                tokens_per_s: f.decode.tokens_per_s,
                interval_90: f.decode.interval_90,
            },
            prefill: TtftKeys {
                tokens_per_s: f.prefill.tokens_per_s,
                ttft_s: f.prefill.ttft_s,
                ttft_interval_90_s: ttft,
            },
        }
    }
}

/// What stands for the name of a workload where all models are in memory at once.
const TOGETHER: &str = "all together";

impl Present for CheckAnswer {
    const SCHEMA: &'static str = "mlxplan.check/1";
    const NOT_MODELED: &'static [&'static str] = &[
        "workloads that compute at the same time",
        "quality beyond published losses",
        "heat and power modes",
    ];

    fn document(&self) -> Document {
        let mut d = Document::default();
        let on = match &self.macs[..] {
            [one] => format!(" on {}", one.machine.id),
            _ => String::new(),
        };
        d.heading(format!("{}: {}{on}", self.plan, self.outcome));
        if self.resident == ResidentModels::Together {
            d.text("All models in memory at once, each with the peak of its largest workload; workloads of the same model share a process. Speeds are those of one workload at a time.");
        }
        let mut table = Table::new(columns(self.macs.len()));
        for mac in &self.macs {
            for (name, requirement, _) in mac.requirements() {
                table.row(row(&mac.machine.id, name, requirement));
            }
        }
        d.main_table(table);
        for mac in &self.macs {
            changes(&mut d, mac);
        }
        d.notes(self.notes.clone());
        d
    }

    fn charts(&self) -> Vec<Chart> {
        let several = self.macs.len() > 1;
        let on = |mac: &MacAnswer, name: &str| match several {
            true => format!("{name} {}", mac.machine.id),
            false => name.to_owned(),
        };
        let bar = |(mac, w): (&MacAnswer, &WorkloadAnswer)| NamedBar {
            name: on(mac, &w.name),
            height: 100.0 * w.probability,
            interval: [100.0 * w.probability; 2],
        };
        let all = self.macs.iter().flat_map(|mac| mac.workloads.iter().map(move |w| (mac, w)));
        let description = "Probability that all needs of a workload hold, in percent";
        vec![Chart::of_bars(&self.plan, description, "%", all.map(bar).collect())]
    }

    /// A suite for each Mac, a case for each requirement. What is uncertain counts as skipped, because it neither
    /// passes nor fails.
    fn junit(&self) -> Option<quick_junit::Report> {
        let mut report = quick_junit::Report::new(&*self.plan);
        for mac in &self.macs {
            let mut suite = TestSuite::new(&*mac.machine.id);
            for (name, requirement, changes) in mac.requirements() {
                let mut case = test_case(name, requirement, changes);
                case.set_classname(format!("{}.{}", self.plan, mac.machine.id));
                suite.add_test_case(case);
            }
            report.add_test_suite(suite);
        }
        Some(report)
    }
}

fn test_case(workload: &str, r: &Requirement, changes: &[Remedy]) -> TestCase {
    let [low, high] = r.interval_90;
    let message = format!(
        "predicted {:?}, 90 % {low:?} to {high:?}, threshold {:?}, probability {:.3}",
        r.predicted, r.threshold, r.probability
    );
    let name = format!("{workload}: {}", r.kind.key());
    match r.outcome {
        Outcome::Pass => {
            let mut case = TestCase::new(name, TestCaseStatus::success());
            case.set_system_out(message);
            case
        }
        Outcome::Uncertain => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(format!("uncertain: {message}"));
            TestCase::new(name, status)
        }
        Outcome::Fail => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(message);
            if let Some(change) = changes.first() {
                status.set_description(change.text());
            }
            TestCase::new(name, status)
        }
    }
}

/// The columns of the table of requirements. On a narrow terminal a single Mac is named above it only.
fn columns(macs: usize) -> Vec<Column> {
    let mac = Column::text("Mac");
    vec![
        if macs == 1 { mac.droppable(2) } else { mac },
        Column::text("workload"),
        Column::text("needs"),
        Column::text("verdict"),
        Column::number("asked"),
        Column::number("expected"),
        Column::number("90 %").droppable(1),
        Column::number("chance"),
    ]
}

fn row(mac: &str, workload: &str, r: &Requirement) -> [String; 8] {
    let text = |x: f64| value_text(r.kind, x);
    let sign = match r.kind {
        RequirementKind::TokS | RequirementKind::Rate => "≥",
        RequirementKind::Divided => "=",
        _ => "≤",
    };
    let interval = match r.kind {
        RequirementKind::Context | RequirementKind::Divided => String::new(),
        _ => format!("{}–{}", text(r.interval_90[0]), text(r.interval_90[1])),
    };
    [
        mac.to_owned(),
        workload.to_owned(),
        r.kind.name().to_owned(),
        r.outcome.to_string(),
        format!("{sign} {}", text(r.threshold)),
        text(r.predicted),
        interval,
        percent(r.probability),
    ]
}

fn value_text(kind: RequirementKind, x: f64) -> String {
    match kind {
        RequirementKind::Memory => Bytes(x as u64).to_string(),
        RequirementKind::Context => format!("{x:.0}"),
        RequirementKind::Divided => if x > 0.0 { "possible" } else { "not" }.to_owned(),
        RequirementKind::TokS => TokensPerSecond(x).to_string(),
        RequirementKind::Rate => format!("{x:.2}"),
        RequirementKind::Hours => format!("{x:.1} h"),
        // In seconds, as plans have it, and short enough for the table to fit 80 columns.
        RequirementKind::Ttft if (99.95..1e5).contains(&x) => format!("{x:.0} s"),
        RequirementKind::Ttft => Seconds(x).to_string(),
    }
}

fn changes(d: &mut Document, mac: &MacAnswer) {
    let mut lines = Vec::new();
    let mut add = |name: &str, outcome: Outcome, changes: &[Remedy]| {
        if outcome == Outcome::Pass {
            return;
        }
        let texts: Vec<String> = changes.iter().map(Remedy::text).collect();
        let text = match texts.split_first() {
            None => "no single change whose loss is published makes it pass".to_owned(),
            Some((first, [])) => first.clone(),
            Some((first, more)) => format!("{first}; or {}", more.join("; or ")),
        };
        lines.push((name.to_owned(), text));
    };
    if let Some(r) = &mac.together {
        add(TOGETHER, r.outcome, &mac.together_changes);
    }
    for w in &mac.workloads {
        add(&w.name, w.outcome, &w.changes);
    }
    for t in &mac.fine_tunings {
        add(&t.name, t.outcome, &t.changes);
    }
    if !lines.is_empty() {
        d.text(format!(
            "On {} these changes make it pass, those that lose least first:",
            mac.machine.id
        ));
        d.pairs(lines);
    }
}

fn notes(plan: &Plan, report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some((offer, machine)) = &report.alternative {
        let usd = offer.usd_now.map_or_else(|| "?".to_owned(), |usd| usd.to_string());
        notes.push(format!(
            "the cheapest Mac on which all of it passes as it is: {} with {} GB ({}), {usd} USD, list price of {AS_OF}",
            offer.name, offer.memory_gib, machine.id
        ));
    } else if report.outcome() != Outcome::Pass {
        notes.push("no Mac on sale with a known price passes all of it is".to_owned());
    }
    notes.push("uncertain: the threshold lies within the 90 % interval, or the memory limit depends on the version of macOS".to_owned());
    let mut reserve: Vec<String> =
        plan.places().map(|m| format!("{} on {}", plan.reserve_on(m), m.id)).collect();
    reserve.dedup();
    notes.push(format!("kept for macOS and other programs: {}", reserve.join(", ")));
    for f in report.macs.iter().flat_map(|m| &m.found.workloads).map(|w| &w.figures) {
        for text in f.decode.warnings.iter().chain(&f.prefill.warnings) {
            let text = text.to_string();
            if !notes.contains(&text) {
                notes.push(text);
            }
        }
    }
    notes.extend(report.not_divided.iter().cloned());
    if let Some(cluster) = &plan.cluster {
        notes.push(format!(
            "{} run each model together over {}, in the way that passes more probably; `mlxplan compare --cluster` shows both",
            cluster_name(cluster),
            cluster.link()
        ));
    }
    // What is taken for granted hangs on no machine.
    let judged = report.macs.first().map_or(&[][..], |mac| &mac.found.workloads);
    notes.extend(engines(plan, judged));
    for (w, judged) in plan.workloads.iter().zip(judged) {
        notes.extend(judged.doubts.iter().map(|doubt| format!("{}: {doubt}", w.name)));
    }
    notes
}

/// The engines of the workloads, each in one line with the workloads that it runs.
fn engines(plan: &Plan, judged: &[JudgedWorkload]) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for (w, judged) in plan.workloads.iter().zip(judged) {
        let line = engine_text(&judged.run, None);
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, names)) => names.push(&w.name),
            None => lines.push((line, vec![&w.name])),
        }
    }
    lines.into_iter().map(|(line, names)| format!("{}: with {line}", names.join(", "))).collect()
}
