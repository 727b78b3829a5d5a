//! `--explain`: every term and byte of a prediction, with the rule behind it.

use crate::estimate::memory::Memory;
use crate::estimate::speed::Term;
use crate::estimate::{Prediction, Subject, gpu};
use crate::graph::params::ModuleKind;
use crate::ledger::peak::{Peak, full};
use crate::report::{Column, Document, Table};
use crate::units::Bytes;
use anyhow::Result;
use serde_json::{Value, json};

/// Appends the ledgers to a document; returns them as JSON.
pub(super) fn add(d: &mut Document, p: &Prediction, subject: &Subject) -> Result<Value> {
    let mut out = json!({});
    d.heading("Decode step, by term");
    d.table(terms(&p.decode.terms));
    d.heading("Prefill, by term");
    d.table(terms(&p.prefill.terms));
    d.heading("Weights, by kind of module");
    let weights = weights(subject);
    d.table(ledger(&weights));
    out["weights"] = lines(&weights);
    if let Some(m) = &p.memory {
        d.heading("Peak memory");
        let memory = peak(m);
        d.table(ledger(&memory));
        out["peak"] = lines(&memory);
        d.heading("Limits");
        d.table(limits(m));
        d.heading("Simulated steps");
        let all = full(&subject.graph, &p.settings.request.on(gpu(&p.machine)))?;
        d.table(steps(&all));
        out["steps"] = serde_json::to_value(&all.steps)?;
    }
    d.heading("Inputs");
    let mut table = Table::new(vec![Column::text("input"), Column::text("from")]);
    for line in p.sources() {
        table.row([line.0.to_owned(), line.1]);
    }
    d.table(table);
    Ok(out)
}

/// A line of a ledger: what, bytes, and the rule behind them.
type Line = (String, u64, &'static str);

fn ledger(lines: &[Line]) -> Table {
    let mut table = Table::new(vec![
        Column::text("part"),
        Column::number("bytes"),
        Column::number(""),
        Column::text("rule"),
    ]);
    for (name, bytes, rule) in lines {
        table.row([name.clone(), bytes.to_string(), Bytes(*bytes).to_string(), (*rule).to_owned()]);
    }
    table
}

fn lines(all: &[Line]) -> Value {
    all.iter()
        .map(|(part, bytes, rule)| json!({ "part": part, "bytes": bytes, "rule": rule }))
        .collect()
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

fn weights(subject: &Subject) -> Vec<Line> {
    let mut out: Vec<Line> = Vec::new();
    for module in subject.graph.params().modules() {
        let (name, rule) = kind(module.kind);
        let packing = match module.packing {
            Some(p) => format!("{} {} bit, group {}", p.mode.name(), p.bits, p.group),
            None => "unquantised".to_owned(),
        };
        let name = format!("{name}, {packing}");
        let bytes: u64 = module.tensors().map(|(_, s, t)| s.elements() * t.bytes()).sum();
        match out.iter_mut().find(|(known, _, _)| *known == name) {
            Some(line) => line.1 += bytes,
            None => out.push((name, bytes, rule)),
        }
    }
    out
}

fn kind(kind: ModuleKind) -> (&'static str, &'static str) {
    match kind {
        ModuleKind::Linear => {
            ("matrices", "rows × columns × bits / 8, and a scale and a bias per group")
        }
        ModuleKind::Embedding => ("embeddings", "the same; only the rows of the tokens are read"),
        ModuleKind::SwitchLinear => {
            ("routed experts", "all are loaded; those that a token is routed to are read")
        }
        ModuleKind::MultiLinear => ("matrices per head", "one matrix per head"),
        _ => ("other tensors", "as stored"),
    }
}

fn peak(m: &Memory) -> Vec<Line> {
    let p = &m.peak;
    let process = &m.process;
    vec![
        ("weights".to_owned(), p.weights_bytes, "every tensor rounded up to whole pages of 16 KiB"),
        ("cache".to_owned(), p.kv_bytes, "keys and values, grown 256 tokens at a time"),
        ("states".to_owned(), p.state_bytes, "recurrent and convolution states"),
        (
            "attention scores".to_owned(),
            p.attention_scratch_bytes,
            "heads × chunk × context where attention is not one fused kernel",
        ),
        (
            "run-ahead".to_owned(),
            p.run_ahead_bytes,
            "intermediates of the command buffers that wait for the GPU, and caches being replaced",
        ),
        ("MLX's peak".to_owned(), p.peak_bytes, "mx.get_peak_memory()"),
        (
            "kept for reuse".to_owned(),
            process.mlx_resident_bytes - process.mlx_peak_bytes,
            "freed buffers that MLX keeps, up to 0.95 of the GPU limit (mx.get_cache_memory())",
        ),
        ("largest buffer".to_owned(), p.largest_buffer_bytes, "Metal's maxBufferLength limits it"),
    ]
}

fn limits(m: &Memory) -> Table {
    let mut table = Table::new(vec![
        Column::text("limit"),
        Column::number("needed"),
        Column::number("allowed"),
        Column::text("verdict"),
        Column::text("rule"),
    ]);
    for l in &m.judgement.limits {
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

fn steps(peak: &Peak) -> Table {
    let mut table = Table::new(vec![
        Column::text("step"),
        Column::number("tokens"),
        Column::number("context"),
        Column::number("peak so far"),
        Column::number("cache"),
        Column::number("command buffers").droppable(1),
    ]);
    for s in &peak.steps {
        let phase = serde_json::to_value(s.phase).ok();
        table.row([
            phase.and_then(|v| v.as_str().map(|s| s.replace('_', " "))).unwrap_or_default(),
            s.tokens.to_string(),
            s.context_tokens.to_string(),
            Bytes(s.peak_bytes).to_string(),
            Bytes(s.kv_bytes).to_string(),
            s.command_buffers.to_string(),
        ]);
    }
    table
}
