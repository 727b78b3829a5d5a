//! Comparisons as text and JSON.

use crate::estimate::Fidelity;
use crate::report::{Column, Document, Table};
use crate::validation::evidence::{Comparison, Metric, Quality};
use serde_json::{Value, json};

const METRICS: [(Metric, &str); 2] = [(Metric::Decode, "decode"), (Metric::Prefill, "prefill")];

/// One comparison, as soon as it is there.
pub(super) fn line(r: &Comparison, elapsed_s: f64) -> String {
    let what = match r.metric {
        Metric::Decode => "at",
        Metric::Prefill => "prompt",
    };
    format!(
        "{elapsed_s:4.0} s  {} {} {what} {}: {} {:.2} tok/s, measured {:.2} ({:+.1} %, noise {:.1} %, {} rounds)",
        r.model,
        r.quant,
        r.context_tokens,
        r.fidelity.name(),
        r.predicted,
        r.measured,
        100.0 * r.error,
        100.0 * r.noise,
        r.rounds
    )
}

/// How good the predictions were, by metric and fidelity.
pub(super) fn summary(rows: &[Comparison]) -> Value {
    let mut all = serde_json::Map::new();
    for (metric, name) in METRICS {
        let mut of_metric = serde_json::Map::new();
        for fidelity in [Fidelity::Calibrated, Fidelity::LayerTimed, Fidelity::Measured] {
            let of = |r: &&Comparison| r.metric == metric && r.fidelity == fidelity;
            let rows: Vec<&Comparison> = rows.iter().filter(of).collect();
            if let Some(quality) = Quality::of(&rows) {
                of_metric.insert(fidelity.name().to_owned(), json!(quality));
            }
        }
        if !of_metric.is_empty() {
            all.insert(name.to_owned(), json!({ "fidelity": of_metric }));
        }
    }
    Value::Object(all)
}

/// Everything as a table.
pub(super) fn document(rows: &[Comparison], json: &Value) -> Document {
    let mut d = Document::default();
    d.heading("Predicted and measured speed on this machine");
    let mut table = Table::new(vec![
        Column::text("model"),
        Column::text("quant"),
        Column::text("metric"),
        Column::number("tokens"),
        Column::text("fidelity"),
        Column::number("predicted"),
        Column::number("90 %"),
        Column::number("measured"),
        Column::number("error"),
        Column::text("held"),
        Column::number("noise").droppable(1),
    ]);
    for r in rows {
        let short = r.model.trim_end_matches('/').rsplit('/').next().unwrap_or(&r.model);
        let metric = METRICS.iter().find(|(m, _)| *m == r.metric).map_or("", |m| m.1);
        table.row([
            short.to_owned(),
            r.quant.clone(),
            metric.to_owned(),
            r.context_tokens.to_string(),
            r.fidelity.name().to_owned(),
            format!("{:.2}", r.predicted),
            format!("{:.2}–{:.2}", r.interval_90[0], r.interval_90[1]),
            format!("{:.2}", r.measured),
            format!("{:+.1} %", 100.0 * r.error),
            if r.held_90 { "yes" } else { "no" }.to_owned(),
            format!("{:.1} %", 100.0 * r.noise),
        ]);
    }
    d.table(table);
    for (_, metric) in METRICS {
        let all = json["summary"][metric]["fidelity"].as_object().into_iter().flatten();
        for (name, s) in all {
            let p = |key: &str| 100.0 * s[key].as_f64().unwrap_or(f64::NAN);
            d.text(format!(
                "{metric}, {name}: {} cases, error median {:.1} %, p90 {:.1} %, bias {:+.1} %; 90 % interval held {:.0} %; \
                 the same measured twice differs by {:.1} % (median)",
                s["n"],
                p("median_abs_error"),
                p("p90_abs_error"),
                p("bias"),
                p("coverage_90"),
                p("noise_floor")
            ));
        }
    }
    d
}
