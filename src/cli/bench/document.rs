//! A run for people.

use super::cells::{dash, figure};
use crate::bench::plots;
use crate::bench::record::{Record, SCHEMA};
use crate::bench::summary::{CaseSummary, EngineComparison, TrialMetric};
use crate::bench::{Trial, TrialFlag};
use crate::chart::Chart;
use crate::report::{Column, Document, Present, Table};
use crate::stats::TrialSummary;
use crate::units::{Bytes, Seconds, TokensPerSecond};
use std::collections::BTreeMap;

/// Messages of failures that are shown at most.
const SHOWN_FAILURES: usize = 5;

/// One line about a trial, while the run goes on.
pub(super) fn progress(t: &Trial) -> String {
    let what = if t.warm_up { format!("{} (not counted)", t.case) } else { t.case.clone() };
    let result = match (&t.failure, t.ttft_s, t.decode_tokens_per_s) {
        (Some(f), ..) => format!("failed: {}", f.message),
        (None, Some(ttft), Some(rate)) => {
            format!("first token after {}, {} tok/s", Seconds(ttft), TokensPerSecond(rate))
        }
        _ => format!("done after {}", Seconds(t.total_s.unwrap_or_default())),
    };
    format!("{} {what}: {result}", t.engine)
}

impl Present for Record {
    const SCHEMA: &'static str = SCHEMA;

    fn document(&self) -> Document {
        document(self)
    }

    fn charts(&self) -> Vec<Chart> {
        plots::charts(self).into_iter().map(|(_, chart)| chart).collect()
    }
}

fn document(record: &Record) -> Document {
    let mut d = Document::default();
    let ended = if record.incomplete { " (incomplete)" } else { "" };
    d.heading(format!("Measured: {}{ended}", record.scenario.name()));
    d.pairs(context(record));
    d.main_table(results(record));
    if !record.comparison.is_empty() {
        d.heading("A against B");
        d.text("Ratios of the same rounds, with 95 % intervals; above 1, A is faster or smaller.");
        d.table(comparison(&record.comparison));
    }
    super::sections::add(&mut d, record);
    d.notes(notes(record));
    d
}

fn context(record: &Record) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for e in &record.engines {
        let mut text = Vec::new();
        if let Some(s) = &e.server {
            text.push(match &s.version {
                Some(v) => format!("{} {v}", s.kind.name()),
                None => s.kind.name().to_owned(),
            });
            text.push(s.model.id.clone());
            text.extend(s.model.quant.clone());
            text.extend(s.model.context_tokens.map(|n| format!("context {n} tokens")));
        }
        text.push(e.at.clone());
        text.retain(|t| !t.is_empty());
        pairs.push((format!("engine {}", e.label), text.join(", ")));
    }
    let p = &record.protocol;
    let pauses = match p.cool_down_s {
        0.0 => "no pauses".to_owned(),
        s => format!("pauses of {}", Seconds(s)),
    };
    pairs.push((
        "protocol".to_owned(),
        format!(
            "{} warm-up, {} trials a case, at most {} tokens each, {}, temperature {}{}",
            p.warm_up,
            p.trials,
            p.max_tokens,
            pauses,
            p.temperature,
            if p.stream { "" } else { ", not streamed" },
        ),
    ));
    let brand = record.machine.get("brand").and_then(|b| b.as_str());
    pairs.push(("machine".to_owned(), brand.unwrap_or("not known").to_owned()));
    pairs.push(("time".to_owned(), format!("{}, {}", record.started, Seconds(record.duration_s))));
    pairs
}

fn results(record: &Record) -> Table {
    let two = record.engines.len() > 1;
    let mut columns = vec![Column::text("case")];
    if two {
        columns.push(Column::text("engine"));
    }
    columns.extend([
        Column::number("prompt tokens").droppable(2),
        Column::number("TTFT"),
        Column::number("decode tok/s"),
        Column::number("prefill tok/s").droppable(1),
        Column::number("end to end tok/s").droppable(4),
        Column::number("memory after").droppable(3),
    ]);
    let powered = record.summary.iter().any(|s| s.metric(TrialMetric::PackageW).is_some());
    if powered {
        columns.push(Column::number("package").droppable(5));
        columns.push(Column::number("J/token").droppable(5));
    }
    columns.extend([Column::number("trials"), Column::text("remarks").droppable(6)]);
    let mut table = Table::new(columns);
    for s in &record.summary {
        let mut row = vec![s.case.clone()];
        if two {
            row.push(s.engine.clone());
        }
        row.extend([
            s.metric(TrialMetric::PromptTokens).map_or_else(dash, |m| format!("{:.0}", m.median)),
            figure(s.metric(TrialMetric::TtftS), |v| Seconds(v).to_string()),
            figure(s.metric(TrialMetric::DecodeTokensPerS), |v| TokensPerSecond(v).to_string()),
            figure(s.metric(TrialMetric::PrefillTokensPerS), |v| TokensPerSecond(v).to_string()),
            figure(s.metric(TrialMetric::EndToEndTokensPerS), |v| TokensPerSecond(v).to_string()),
            memory(s),
        ]);
        if powered {
            row.push(figure(s.metric(TrialMetric::PackageW), |w| format!("{w:.1} W")));
            row.push(figure(s.metric(TrialMetric::JoulesPerToken), |j| format!("{j:.2}")));
        }
        row.extend([trials(s), remarks(s)]);
        table.row(row);
    }
    if record.summary.len() > 1 {
        let rate = |s: &CaseSummary| Some(s.metric(TrialMetric::DecodeTokensPerS)?.median);
        table.bars(record.summary.iter().map(rate).collect(), 5);
    }
    table
}

fn memory(s: &CaseSummary) -> String {
    let of = |m: TrialMetric, name: &str| {
        s.metric(m).map(|v| format!("{} {name}", Bytes(v.median as u64)))
    };
    of(TrialMetric::FootprintBytes, "footprint")
        .or_else(|| of(TrialMetric::ResidentBytes, "resident"))
        .unwrap_or_else(dash)
}

fn trials(s: &CaseSummary) -> String {
    match s.failed() {
        0 => s.trials.to_string(),
        n => format!("{}, {n} failed", s.trials),
    }
}

fn remarks(s: &CaseSummary) -> String {
    let mut parts: Vec<String> =
        s.failures.iter().map(|(kind, n)| format!("{n} × {}", kind.name())).collect();
    let outliers = s.metric(TrialMetric::DecodeTokensPerS).map_or(0, |m| m.outliers.len());
    if outliers > 0 {
        parts.push(format!("{outliers} outlier{}", if outliers == 1 { "" } else { "s" }));
    }
    parts.extend(s.flags.iter().map(|(flag, n)| format!("{n} × {}", short(*flag))));
    parts.join(", ")
}

const fn short(flag: TrialFlag) -> &'static str {
    match flag {
        TrialFlag::NoTokenCount => "no token count",
        TrialFlag::CountsDisagree => "counts disagree",
        TrialFlag::BundledTokens => "bundled tokens",
        TrialFlag::Stall => "stall",
        TrialFlag::CachedPrefix => "cached prefix",
        TrialFlag::EndedEarly => "ended early",
        TrialFlag::TruncatedPrompt => "prompt cut off",
        TrialFlag::NotStreamed => "not streamed",
        TrialFlag::Burst => "held back",
        TrialFlag::AboveBound => "above the bound",
    }
}

fn comparison(rows: &[EngineComparison]) -> Table {
    let mut table = Table::new(vec![
        Column::text("case"),
        Column::number("decode"),
        Column::number("time to first token"),
        Column::number("prefill").droppable(1),
        Column::number("resident memory").droppable(2),
        Column::number("rounds"),
    ]);
    let ratio = |s: &Option<TrialSummary>| figure(s.as_ref(), |v| format!("{v:.2}×"));
    for c in rows {
        let rounds = [&c.decode_ratio, &c.ttft_ratio].into_iter().flatten().map(|s| s.n).max();
        table.row([
            c.case.clone(),
            ratio(&c.decode_ratio),
            ratio(&c.ttft_ratio),
            ratio(&c.prefill_ratio),
            ratio(&c.resident_ratio),
            rounds.unwrap_or(0).to_string(),
        ]);
    }
    table
}

fn notes(record: &Record) -> Vec<String> {
    let mut notes = vec![
        "medians with 95 % bootstrap intervals of the median over all trials, outliers included; decode is tokens \
         after the first over the time they took; end to end includes the prompt and is not a decode speed"
            .to_owned(),
    ];
    let mut flags: BTreeMap<TrialFlag, ()> = BTreeMap::new();
    record.summary.iter().flat_map(|s| s.flags.keys()).for_each(|f| {
        flags.insert(*f, ());
    });
    notes.extend(flags.keys().map(|f| format!("{}: {}", short(*f), f.text())));
    let mut failures: Vec<String> = Vec::new();
    for t in &record.trials {
        let Some(f) = &t.failure else { continue };
        let text = format!("{} failed at {}: {}", t.engine, t.case, f.message);
        if !failures.contains(&text) {
            failures.push(text);
        }
    }
    let more = failures.len().saturating_sub(SHOWN_FAILURES);
    notes.extend(failures.into_iter().take(SHOWN_FAILURES));
    if more > 0 {
        notes.push(format!("{more} more kinds of failures are in the JSON output"));
    }
    notes.extend(record.notes.iter().cloned());
    notes
}
