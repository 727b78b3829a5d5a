//! `mlxplan recommend`: what fits, how fast, and which Mac does it.

mod away;

use super::args::{MachineArgs, RecommendArgs};
use super::predict::{request_json, settings, verdict};
use super::tables::changes_table;
use super::words::{context_text, format_name, gb, parts_text, run_text, short, wired_notes};
use super::{Context, Verdict};
use crate::advise::recommend::LADDER;
use crate::advise::{Candidate, MacChoice, Question, Row, by_size, candidates, macs_for, rows};
use crate::estimate::memory::{Bound, Fits, Memory};
use crate::estimate::speed::Engine;
use crate::estimate::{Opened, Prediction, Settings, Subject};
use crate::hardware::SpecError;
use crate::hardware::machine::Machine;
use crate::model::Scheme;
use crate::report::{Answer, Column, Document, Table};
use crate::roofline::Coefficients;
use crate::units::{Seconds, TokensPerSecond};
use anyhow::Result;
use serde_json::{Value, json};

/// Macs listed at most.
const MACS: usize = 12;
/// Macs listed at most beside an answer about another one.
const FEW_MACS: usize = 4;
/// Models listed at most beside an answer about another one.
const FEW_MODELS: usize = 3;

pub(super) fn run(context: &Context, args: &RecommendArgs) -> Result<(Answer, Verdict)> {
    Coefficients::prepare();
    let settings = settings(&args.run, Engine::Mlx)?;
    let (wanted, machine) = rayon::join(
        || args.model.as_deref().map(|model| wanted(context, args, model)).transpose(),
        || {
            let machine = machine_or_none(context, &args.machine);
            if matches!(machine, Ok(Err(_))) {
                // Read beside the models; whoever needs the Macs reports what is wrong with them.
                let _ = context.catalogue.macs();
            }
            machine
        },
    );
    let (machine, wanted) = (machine?, wanted?);
    match (wanted, machine) {
        (Some(wanted), Ok(machine)) => {
            let answer = on_machine(context, &wanted, &machine, &settings);
            // Freed beside the printing.
            rayon::spawn(|| drop(wanted));
            answer
        }
        (Some(wanted), Err(why)) => away::answer(context, wanted, &why, &settings),
        (None, Ok(machine)) => overview(context, &machine, &settings),
        (None, Err(why)) => Err(anyhow::Error::from(*why)),
    }
}

/// The machine, or why this one cannot be planned for when none was named.
fn machine_or_none(
    context: &Context,
    args: &MachineArgs,
) -> Result<Result<Machine, Box<SpecError>>> {
    let named = args.mac.is_some() || args.bandwidth.is_some();
    match context.machine(args) {
        Ok(machine) => Ok(Ok(machine)),
        Err(e) if named => Err(e),
        Err(e) => match e.downcast::<SpecError>() {
            Ok(why @ SpecError::This(_)) => Ok(Err(Box::new(why))),
            Ok(other) => Err(other.into()),
            Err(other) => Err(other),
        },
    }
}

/// What the user wants to run.
struct Wanted {
    title: String,
    candidates: Vec<Candidate>,
    notes: Vec<String>,
}

fn wanted(context: &Context, args: &RecommendArgs, model: &str) -> Result<Wanted> {
    let sources = context.sources(None)?;
    match context.open(model, args.quant.as_deref(), None)? {
        Opened::Class(class) => {
            let candidates = candidates(&class, args.limit as usize, &sources)?;
            let scheme = class.scheme.unwrap_or(Scheme::DEFAULT);
            let all = class.members.len();
            let mut notes: Vec<String> = class.notes.iter().map(ToString::to_string).collect();
            if class.scheme.is_none() {
                notes.push("no format was given: 4 bit, the most used".to_owned());
            }
            if all > candidates.len() {
                notes.push(format!("the {} most popular of {all} models", candidates.len()));
            }
            let title = format!("{}-class models, {}", class.class, scheme.suffix());
            Ok(Wanted { title, candidates, notes })
        }
        Opened::Model(subject) => {
            let title = format!("{}  {}", subject.id, format_name(&subject.quant));
            let named = args.quant.is_some() || subject.graph.uniform_scheme().is_none();
            let float = matches!(subject.graph.uniform_scheme(), Some(Scheme::Float(_)));
            let mut candidates = vec![];
            let mut notes = Vec::new();
            let subject = *subject;
            if !named && float {
                notes.push("no format was given: the usual ones".to_owned());
                for scheme in LADDER {
                    candidates.extend(in_format(&subject, scheme, &sources));
                }
            }
            candidates.insert(0, Candidate { subject });
            Ok(Wanted { title, candidates, notes })
        }
    }
}

fn in_format(
    subject: &Subject,
    scheme: Scheme,
    sources: &crate::estimate::Sources<'_, '_>,
) -> Option<Candidate> {
    let subject = Subject::from_source(subject.source.clone(), Some(scheme), sources).ok()?;
    Some(Candidate { subject })
}

fn on_machine(
    context: &Context,
    wanted: &Wanted,
    machine: &Machine,
    settings: &Settings,
) -> Result<(Answer, Verdict)> {
    let coefficients = Coefficients::embedded()?;
    let question = Question { machine, coefficients, settings };
    let rows = rows(question, &wanted.candidates)?;
    let mut d = Document::default();
    d.heading(format!("{}  on  {}", wanted.title, machine.name));
    d.text(run_text(settings));
    d.table(table(&rows));
    if let [row] = &rows[..] {
        d.pairs(details(&row.prediction));
    }
    d.notes(notes(&wanted.notes, &rows, machine));
    changes(&mut d, &rows);
    let nothing = rows
        .iter()
        .all(|r| r.prediction.memory.as_ref().is_some_and(|m| m.judgement.fits == Fits::No));
    let instead = if nothing { others(context, question, &mut d)? } else { Vec::new() };
    let bigger = match wanted.candidates.last() {
        Some(smallest) if nothing => {
            let macs = macs_for(&context.catalogue, coefficients, &smallest.subject, settings)?;
            let subject = &smallest.subject;
            d.heading(format!(
                "Macs that run {} {}, cheapest first",
                short(&subject.id),
                format_name(&subject.quant)
            ));
            d.table(macs_table(&macs, FEW_MACS));
            macs.iter().take(FEW_MACS).map(mac_json).collect()
        }
        _ => Vec::new(),
    };
    let best = rows.iter().map(|r| verdict(r.prediction.memory.as_ref())).min_by_key(|v| match v {
        Verdict::Ok => 0,
        Verdict::Uncertain => 1,
        Verdict::No | Verdict::Interrupted => 2,
    });
    let json = context.json(|| {
        Ok(json!({
            "schema": "mlxplan.recommendation/1", "machine": machine.summary(),
            "request": request_json(settings),
            "choices": rows.iter().map(row_json).collect::<Result<Vec<_>>>()?, "notes": wanted.notes,
            "instead": instead, "macs": bigger,
        }))
    })?;
    Ok((Answer::untyped(json, d), best.unwrap_or(Verdict::Ok)))
}

/// The largest models that do fit.
fn others(context: &Context, question: Question<'_>, d: &mut Document) -> Result<Vec<Value>> {
    let mut rows = by_size(question, context.models()?, &context.sources(None)?)?;
    rows.reverse();
    rows.truncate(FEW_MODELS);
    if !rows.is_empty() {
        d.heading("Popular models that fit instead, the largest first");
        d.table(table(&rows));
    }
    rows.iter().map(row_json).collect()
}

fn overview(
    context: &Context,
    machine: &Machine,
    settings: &Settings,
) -> Result<(Answer, Verdict)> {
    let question = Question { machine, coefficients: Coefficients::embedded()?, settings };
    let rows = by_size(question, context.models()?, &context.sources(None)?)?;
    let mut d = Document::default();
    d.heading(format!("By size, the most popular models on  {}", machine.name));
    d.text(run_text(settings));
    d.table(table(&rows));
    let notes_of_choice =
        ["of each size class the most downloaded model, in the most precise format that fits \
         (8, 6, 5, 4, 3 bit); --model names any other"
            .to_owned()];
    d.notes(notes(&notes_of_choice, &rows, machine));
    let json = context.json(|| {
        Ok(json!({
            "schema": "mlxplan.recommendation/1", "machine": machine.summary(),
            "request": request_json(settings),
            "choices": rows.iter().map(row_json).collect::<Result<Vec<_>>>()?,
            "notes": notes_of_choice,
        }))
    })?;
    Ok((Answer::untyped(json, d), Verdict::Ok))
}

/// A column of the table of choices.
type Cell = fn(&Prediction) -> String;

fn table(rows: &[Row]) -> Table {
    let first = rows.first().map(|r| r.prediction.model.as_str());
    let one_model = rows.iter().all(|r| Some(r.prediction.model.as_str()) == first);
    let format = Column::text("format");
    let mut columns: Vec<(Column, Cell)> = if one_model {
        vec![(format, |p| format_name(&p.quant))]
    } else {
        vec![
            (Column::text("model"), |p| short(&p.model).to_owned()),
            (format.droppable(2), |p| format_name(&p.quant)),
        ]
    };
    columns
        .extend(FIGURES.map(|(title, drop, cell)| (Column::number(title).droppable(drop), cell)));
    let (columns, cells): (Vec<Column>, Vec<Cell>) = columns.into_iter().unzip();
    let mut table = Table::new(columns);
    for row in rows {
        table.row(cells.iter().map(|cell| cell(&row.prediction)));
    }
    table
}

/// The figures of a choice: title, in which order the column is dropped, text.
const FIGURES: [(&str, u8, Cell); 7] = [
    ("fits", 0, |p| memory_text(p, |m| m.judgement.verdict.to_string())),
    ("tok/s", 0, |p| TokensPerSecond(p.decode.tokens_per_s).to_string()),
    ("90 %", 0, |p| {
        let [low, high] = p.decode.interval_90.map(TokensPerSecond);
        format!("{low}–{high}")
    }),
    ("TTFT", 0, |p| Seconds(p.prefill.ttft_s).to_string()),
    ("TTFT 90 %", 3, |p| {
        let [soon, late] = p.ttft_interval_90_s().map(Seconds);
        format!("{soon}–{late}")
    }),
    ("peak GB", 0, |p| memory_text(p, |m| gb(m.peak.peak_bytes))),
    ("context", 1, |p| match p.max_context {
        Some(c) if c.bound == Bound::Memory => format!("{}*", c.tokens),
        Some(c) => c.tokens.to_string(),
        None => "?".to_owned(),
    }),
];

fn memory_text(p: &Prediction, text: impl Fn(&Memory) -> String) -> String {
    p.memory.as_ref().map_or_else(|| "?".to_owned(), text)
}

fn details(p: &Prediction) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    if let Some(m) = &p.memory {
        pairs.push(("peak".to_owned(), parts_text(&m.peak)));
        let [low, high] = m.peak_interval_90;
        pairs.push((
            String::new(),
            format!("90 % {low}–{high}; GPU limit {}", p.machine.gpu_limit.bytes),
        ));
    }
    if let Some(c) = p.max_context {
        pairs.push(("max context".to_owned(), context_text(c)));
    }
    pairs.push(("basis".to_owned(), p.decode.evidence.text.clone()));
    pairs
}

fn notes(own: &[String], rows: &[Row], machine: &Machine) -> Vec<String> {
    let limit = &machine.gpu_limit;
    let mut notes = own.to_vec();
    let range = if limit.range[0] == limit.range[1] {
        String::new()
    } else {
        format!(", {}–{} by macOS version", limit.range[0], limit.range[1])
    };
    notes.push(format!("GPU memory limit {}{range}", limit.bytes));
    if rows.iter().any(|r| r.prediction.max_context.is_some_and(|c| c.bound == Bound::Memory)) {
        notes.push(
            "context: the longest that fits; * ended by memory, others by the model".to_owned(),
        );
    }
    notes.extend(warnings(rows));
    notes
}

/// The doubts of all rows; those of some rows only say which.
fn warnings(rows: &[Row]) -> Vec<String> {
    let mut seen: Vec<(&String, Vec<&str>)> = Vec::new();
    for row in rows {
        for text in &row.prediction.warnings {
            match seen.iter_mut().find(|(known, _)| *known == text) {
                Some((_, models)) => models.push(short(&row.prediction.model)),
                None => seen.push((text, vec![short(&row.prediction.model)])),
            }
        }
    }
    let of_all = |models: &[&str]| models.len() == rows.len();
    seen.into_iter()
        .map(
            |(text, models)| {
                if of_all(&models) {
                    text.clone()
                } else {
                    format!("{}: {text}", models.join(", "))
                }
            },
        )
        .collect()
}

/// The changes that help the rows that do not fit.
fn changes(d: &mut Document, rows: &[Row]) {
    for row in rows.iter().filter(|r| !r.changes.is_empty()) {
        let p = &row.prediction;
        d.text(format!(
            "What would help {} {}, the cheapest first:",
            short(&p.model),
            format_name(&p.quant)
        ));
        d.table(changes_table(&row.changes));
        d.notes(wired_notes(&row.changes));
    }
}

fn row_json(row: &Row) -> Result<Value> {
    let mut json = row.prediction.json();
    json["memory"]["changes"] = serde_json::to_value(&row.changes)?;
    Ok(json)
}

fn macs_table(macs: &[MacChoice], most: usize) -> Table {
    let mut table = Table::new(vec![
        Column::text("Mac"),
        Column::text("chip").droppable(3),
        Column::number("memory"),
        Column::number("USD"),
        Column::text("fits"),
        Column::number("tok/s"),
        Column::number("90 %").droppable(1),
        Column::number("TTFT").droppable(2),
    ]);
    for m in macs.iter().take(most) {
        table.row([
            m.mac.clone(),
            m.machine.chip.clone().unwrap_or_default(),
            format!("{:.0} GB", m.machine.memory.value.gib()),
            m.usd_now.map_or_else(|| "?".to_owned(), |p| p.to_string()),
            m.memory.judgement.verdict.to_string(),
            TokensPerSecond(m.decode.tokens_per_s).to_string(),
            format!(
                "{}–{}",
                TokensPerSecond(m.decode.interval_90[0]),
                TokensPerSecond(m.decode.interval_90[1])
            ),
            Seconds(m.prefill.ttft_s).to_string(),
        ]);
    }
    table
}

fn mac_json(m: &MacChoice) -> Value {
    json!({
        "mac": m.mac, "machine": m.machine.summary(), "usd_now": m.usd_now, "usd_launch": m.usd_launch,
        "fits": m.memory.judgement.fits, "verdict": m.memory.judgement.verdict,
        "peak_bytes": m.memory.peak.peak_bytes,
        "decode": {
            "tokens_per_s": m.decode.tokens_per_s, "interval_80": m.decode.interval_80,
            "interval_90": m.decode.interval_90,
        },
        "prefill": { "tokens_per_s": m.prefill.tokens_per_s, "ttft_s": m.prefill.ttft_s },
    })
}
