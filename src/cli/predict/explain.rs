//! `--explain`: every term and byte of a prediction, with the rule behind it.

use crate::estimate::explain::ExplanationLine;
use crate::estimate::memory::Memory;
use crate::estimate::speed::Term;
use crate::estimate::{Explanation, Prediction, Widening};
use crate::ledger::peak::Step;
use crate::report::{Column, Document, Table};
use crate::units::Bytes;

/// Appends the ledgers to a document.
pub(super) fn add(d: &mut Document, p: &Prediction, found: &Explanation) {
    if p.generates() {
        d.heading("Decode step, by term");
        d.table(terms(&p.decode.terms));
    }
    d.heading("Time to first token, by term");
    d.table(terms(&p.prefill.terms_to_first_token()));
    d.heading("Weights, by kind of module");
    d.table(ledger(&found.weights));
    if let (Some(m), Some(peak), Some(all)) = (&p.memory, &found.peak, &found.steps) {
        d.heading("Peak memory");
        d.table(ledger(peak));
        d.heading("Limits");
        d.table(limits(m));
        d.heading("Simulated steps");
        d.table(steps(all));
    }
    let wider: Vec<&Widening> = p.widenings().collect();
    if !wider.is_empty() {
        d.heading("Why intervals are wider than their classes of measurements say");
        d.table(widenings(&wider));
    }
    d.heading("Inputs");
    let mut table = Table::new(vec![Column::text("input"), Column::text("from")]);
    for (inputs, from) in by_source(p.sources()) {
        table.row([inputs.join(", "), from]);
    }
    d.table(table);
}

/// Inputs by where they come from, each source once, in the order in which they are first named.
fn by_source(all: Vec<(&'static str, String)>) -> Vec<(Vec<&'static str>, String)> {
    let mut grouped: Vec<(Vec<&'static str>, String)> = Vec::new();
    for (input, from) in all {
        match grouped.iter_mut().find(|(_, known)| *known == from) {
            Some((inputs, _)) => inputs.push(input),
            None => grouped.push((vec![input], from)),
        }
    }
    grouped
}

fn widenings(all: &[&Widening]) -> Table {
    let mut table = Table::new(vec![
        Column::text("of"),
        Column::text("cause"),
        Column::number("factor"),
        Column::text("source").droppable(1),
    ]);
    for w in all {
        table.row([
            w.of.name().to_owned(),
            w.cause.to_string(),
            format!("{:.3}", w.factor),
            w.source.to_owned(),
        ]);
    }
    table
}

fn ledger(lines: &[ExplanationLine]) -> Table {
    let mut table = Table::new(vec![
        Column::text("part"),
        Column::number("bytes"),
        Column::number(""),
        Column::text("rule"),
    ]);
    for ExplanationLine { part, bytes, rule } in lines {
        table.row([part.clone(), bytes.to_string(), Bytes(*bytes).to_string(), (*rule).to_owned()]);
    }
    table
}

fn terms(all: &[Term]) -> Table {
    let mut table = Table::new(vec![
        Column::text("term"),
        Column::number("µs"),
        Column::number("share"),
        Column::text("bound by"),
    ]);
    let total: f64 = all.iter().map(|t| t.seconds).sum();
    for t in all {
        table.row([
            t.name.to_owned(),
            format!("{:.1}", t.seconds * 1e6),
            format!("{:.1} %", 100.0 * t.seconds / total),
            t.bound.name().to_owned(),
        ]);
    }
    table.row(["total".to_owned(), format!("{:.1}", total * 1e6), String::new(), String::new()]);
    table
}

fn limits(m: &Memory) -> Table {
    let mut table = Table::new(vec![
        Column::text("limit"),
        Column::number("needed"),
        Column::number("allowed"),
        Column::text("verdict"),
        Column::text("rule"),
    ]);
    for l in &m.judgment.limits {
        table.row([
            l.kind.name().to_owned(),
            l.need_bytes.to_string(),
            l.limit_bytes.to_string(),
            l.verdict.to_string(),
            l.rule.to_owned(),
        ]);
    }
    table
}

fn steps(all: &[Step]) -> Table {
    let mut table = Table::new(vec![
        Column::text("step"),
        Column::number("tokens"),
        Column::number("context"),
        Column::number("peak so far"),
        Column::number("cache"),
        Column::number("command buffers").droppable(1),
    ]);
    for s in all {
        table.row([
            s.phase.words().to_owned(),
            s.tokens.to_string(),
            s.context_tokens.to_string(),
            Bytes(s.peak_bytes).to_string(),
            Bytes(s.kv_bytes).to_string(),
            s.command_buffers.to_string(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::by_source;

    #[test]
    fn a_source_is_named_once() {
        let all = [("chip", "Apple"), ("decode", "rows"), ("memory", "Apple")];
        let all = all.map(|(input, from)| (input, from.to_owned())).to_vec();
        let grouped = by_source(all);
        assert_eq!(grouped[0], (vec!["chip", "memory"], "Apple".to_owned()));
        assert_eq!(grouped.len(), 2);
    }
}
