//! `mlxplan check PLAN.toml`: will the workloads hold?

use super::args::MachineArgs;
use super::compare::percent;
use super::plan_args::CheckArgs;
use super::predict::request_json;
use super::{Context, Verdict};
use crate::advise::check::{
    Kind, LONGEST, Lookup, MacReport, Plan, Remedy, Report, Requirement, Resident, check, read,
};
use crate::estimate::{Engine, Outcome, Settings};
use crate::files;
use crate::hardware::catalogue::AS_OF;
use crate::report::{Answer, Column, Document, Table};
use crate::roofline::Coefficients;
use crate::units::{Bytes, Seconds, TokensPerSecond};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

pub(super) fn run(context: &Context, args: &CheckArgs) -> Result<(Answer, Verdict)> {
    let name = args.plan.display().to_string();
    let text = files::text(&args.plan, LONGEST as u64)
        .with_context(|| format!("cannot read the plan {name}"))?;
    let lookup = Lookup {
        model: &|model, quant| context.one_model(model, quant, None).map_err(|e| format!("{e:#}")),
        mac: &|spec| {
            let args = MachineArgs { mac: Some(spec.to_owned()), ..MachineArgs::default() };
            context.machine(&args).map_err(|e| format!("{e:#}"))
        },
    };
    let plan = match read(&name, &text, &lookup) {
        Ok(plan) => plan,
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bail!("the plan has mistakes:\n{}", lines.join("\n"))
        }
    };
    let report = check(&plan, &context.catalogue, Coefficients::embedded()?)?;
    let verdict = match report.outcome() {
        Outcome::Pass => Verdict::Ok,
        Outcome::Uncertain => Verdict::Uncertain,
        Outcome::Fail => Verdict::No,
    };
    Ok((Answer { json: json(&plan, &report), document: document(&plan, &report) }, verdict))
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

fn document(plan: &Plan, report: &Report) -> Document {
    let mut d = Document::default();
    let on = match &report.macs[..] {
        [one] => format!(" on {}", one.found.machine.id),
        _ => String::new(),
    };
    d.heading(format!("{}: {}{on}", plan.name, report.outcome()));
    if plan.resident == Resident::Together {
        d.text("All models in memory at once, each with the peak of its largest workload; workloads of the same model share a process. Speeds are those of one workload at a time.");
    }
    let mut table = Table::new(columns(report.macs.len()));
    for mac in &report.macs {
        let id = &mac.found.machine.id;
        if let Some(r) = &mac.found.together {
            table.row(row(id, "all together", r));
        }
        for (w, judged) in plan.workloads.iter().zip(&mac.found.workloads) {
            for r in &judged.requirements {
                table.row(row(id, &w.name, r));
            }
        }
    }
    d.main_table(table);
    for mac in &report.macs {
        changes(&mut d, plan, mac);
    }
    d.notes(notes(plan, report));
    d
}

fn row(mac: &str, workload: &str, r: &Requirement) -> [String; 8] {
    let text = |x: f64| value_text(r.kind, x);
    let sign = if r.kind == Kind::TokS { "≥" } else { "≤" };
    let interval = match r.kind {
        Kind::Context => String::new(),
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

fn value_text(kind: Kind, x: f64) -> String {
    match kind {
        Kind::Memory => Bytes(x as u64).to_string(),
        Kind::Context => format!("{x:.0}"),
        Kind::TokS => TokensPerSecond(x).to_string(),
        // In seconds, as plans have it, and short enough for the table to fit 80 columns.
        Kind::Ttft if (99.95..1e5).contains(&x) => format!("{x:.0} s"),
        Kind::Ttft => Seconds(x).to_string(),
    }
}

fn changes(d: &mut Document, plan: &Plan, mac: &MacReport) {
    let mut lines = Vec::new();
    let mut add = |name: &str, outcome: Outcome, changes: &[Remedy]| {
        if outcome == Outcome::Pass {
            return;
        }
        let texts: Vec<String> = changes.iter().map(Remedy::text).collect();
        let text = match texts.split_first() {
            None => "no single change here makes it pass".to_owned(),
            Some((first, [])) => first.clone(),
            Some((first, more)) => format!("{first}; or {}", more.join("; or ")),
        };
        lines.push((name.to_owned(), text));
    };
    if let Some(r) = &mac.found.together {
        add("all together", r.outcome, &mac.together_changes);
    }
    for ((w, judged), changes) in plan.workloads.iter().zip(&mac.found.workloads).zip(&mac.changes)
    {
        add(&w.name, judged.outcome(), changes);
    }
    if !lines.is_empty() {
        d.text(format!(
            "On {} these changes make it pass, the smallest first:",
            mac.found.machine.id
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
        notes.push("no Mac on sale with a known price passes all of it as it is".to_owned());
    }
    notes.push("uncertain: the threshold lies within the 90 % interval, or the memory limit depends on the version of macOS".to_owned());
    let mut reserve: Vec<String> =
        plan.macs.iter().map(|m| format!("{} on {}", plan.reserve_on(m), m.id)).collect();
    reserve.dedup();
    notes.push(format!("kept for macOS and other programs: {}", reserve.join(", ")));
    for f in report.macs.iter().flat_map(|m| &m.found.workloads).map(|w| &w.figures) {
        for text in f.decode.warnings.iter().chain(&f.prefill.warnings) {
            if !notes.contains(text) {
                notes.push(text.clone());
            }
        }
    }
    for w in &plan.workloads {
        notes.extend(w.subject.warnings.iter().map(|text| format!("{}: {text}", w.name)));
    }
    notes
}

fn json(plan: &Plan, report: &Report) -> Value {
    json!({
        "schema": "mlxplan.check/1", "plan": plan.name, "outcome": report.outcome(), "resident": plan.resident,
        "macs": report.macs.iter().map(|m| mac_json(plan, m)).collect::<Vec<_>>(),
        "alternative": report.alternative.as_ref().map(|(offer, machine)| json!({ "offer": offer, "machine": machine.summary() })),
        "notes": notes(plan, report),
    })
}

fn mac_json(plan: &Plan, mac: &MacReport) -> Value {
    let found = &mac.found;
    let workload = |((w, judged), changes): (
        (&crate::advise::check::Workload, &crate::advise::check::Judged),
        &Vec<Remedy>,
    )| {
        let settings = Settings { request: w.request, engine: Engine::Mlx, ..Settings::default() };
        let f = &judged.figures;
        let ttft =
            f.prefill.ttft_at(f.prefill.interval_90, w.request.context_tokens, w.request.batch);
        json!({
            "name": w.name, "model": { "id": w.subject.id, "quant": w.subject.quant },
            "request": request_json(&settings), "needs": w.needs,
            "outcome": judged.outcome(), "probability": judged.probability(),
            "requirements": judged.requirements, "changes": changes,
            "memory": { "peak_bytes": f.memory.peak.peak_bytes, "peak_interval_90_bytes": f.memory.peak_interval_90 },
            "decode": { "tokens_per_s": f.decode.tokens_per_s, "interval_90": f.decode.interval_90 },
            "prefill": { "tokens_per_s": f.prefill.tokens_per_s, "ttft_s": f.prefill.ttft_s, "ttft_interval_90_s": ttft },
        })
    };
    let all = plan.workloads.iter().zip(&found.workloads).zip(&mac.changes);
    json!({
        "machine": found.machine.summary(), "reserve_bytes": plan.reserve_on(&found.machine),
        "outcome": found.outcome(), "probability": found.probability(),
        "together": found.together, "together_changes": mac.together_changes,
        "workloads": all.map(workload).collect::<Vec<_>>(),
    })
}
