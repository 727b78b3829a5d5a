//! Runs on this machine against what was predicted for them, as an answer.

use crate::calibration::Host;
use crate::calibration::evidence::{EvidenceMetric, LiveComparison, Quality};
use crate::report::{Column, Document, Present, Table};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

const METRICS: [(EvidenceMetric, &str); 2] =
    [(EvidenceMetric::Decode, "decode"), (EvidenceMetric::Prefill, "prefill")];

/// Models run here, against what was predicted for them.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct LiveValidation {
    /// `live`.
    pub basis: &'static str,
    /// MLX's backend.
    pub backend: String,
    /// Version of MLX.
    pub mlx: String,
    /// Clock of the measurements.
    pub clock: &'static str,
    /// The machine.
    pub machine: Host,
    /// Which cases these are.
    pub ladder: &'static str,
    /// How the comparisons are made, in words.
    pub method: &'static str,
    /// Where the rows are stored.
    pub stored_in: Option<PathBuf>,
    /// Seconds that it took.
    pub seconds: f64,
    /// The comparisons.
    pub rows: Vec<LiveComparison>,
    /// Cases without one.
    pub skipped: Vec<SkippedCase>,
    /// How good the predictions were.
    pub summary: LiveSummary,
}

/// A case without a comparison.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct SkippedCase {
    /// The case in words.
    pub id: String,
    /// Why there is none.
    pub reason: String,
}

/// How good the predictions were, by metric; `null` where there is none.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct LiveSummary {
    /// Of decode.
    pub decode: Option<OfMetric>,
    /// Of prefill.
    pub prefill: Option<OfMetric>,
}

/// How good the predictions of a metric were.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct OfMetric {
    /// By fidelity.
    pub fidelity: BTreeMap<&'static str, Quality>,
}

impl Present for LiveValidation {
    const SCHEMA: &'static str = "mlxplan.live_validation/1";

    fn document(&self) -> Document {
        document(&self.rows, &self.summary)
    }
}

/// Everything as a table.
fn document(rows: &[LiveComparison], summary: &LiveSummary) -> Document {
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
    for (metric, of) in [("decode", &summary.decode), ("prefill", &summary.prefill)] {
        for (name, q) in of.iter().flat_map(|of| &of.fidelity) {
            d.text(format!(
                "{metric}, {name}: {} cases, error median {:.1} %, p90 {:.1} %, bias {:+.1} %; 90 % interval held {:.0} %; \
                 the same measured twice differs by {:.1} % (median)",
                q.n,
                100.0 * q.median_abs_error,
                100.0 * q.p90_abs_error,
                100.0 * q.bias,
                100.0 * q.coverage_90,
                100.0 * q.noise_floor
            ));
        }
    }
    d
}
