//! Comparisons as an answer.

use crate::calibration::Host;
use crate::calibration::evidence::{EvidenceMetric, LiveComparison, Quality};
use crate::estimate::Fidelity;
use crate::report::{Column, Document, Present, Table};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

const METRICS: [(EvidenceMetric, &str); 2] =
    [(EvidenceMetric::Decode, "decode"), (EvidenceMetric::Prefill, "prefill")];

/// One comparison, as soon as it is there.
pub(super) fn line(r: &LiveComparison, elapsed_s: f64) -> String {
    let what = match r.metric {
        EvidenceMetric::Decode => "at",
        EvidenceMetric::Prefill => "prompt",
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

/// Models run here, against what was predicted for them.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LiveValidation {
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
pub(super) struct SkippedCase {
    /// The case in words.
    pub id: String,
    /// Why there is none.
    pub reason: String,
}

/// How good the predictions were, by metric; `null` where there is none.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LiveSummary {
    decode: Option<OfMetric>,
    prefill: Option<OfMetric>,
}

/// How good the predictions of a metric were.
#[derive(Debug, Serialize, JsonSchema)]
struct OfMetric {
    /// By fidelity.
    fidelity: BTreeMap<&'static str, Quality>,
}

impl LiveSummary {
    /// Of some comparisons.
    pub(super) fn of(rows: &[LiveComparison]) -> Self {
        let of = |metric: EvidenceMetric| {
            let quality = |fidelity: Fidelity| {
                let of = |r: &&LiveComparison| r.metric == metric && r.fidelity == fidelity;
                let rows: Vec<&LiveComparison> = rows.iter().filter(of).collect();
                Some((fidelity.name(), Quality::of(&rows)?))
            };
            let all = [Fidelity::Calibrated, Fidelity::LayerTimed, Fidelity::Measured];
            let fidelity: BTreeMap<&str, Quality> = all.into_iter().filter_map(quality).collect();
            (!fidelity.is_empty()).then_some(OfMetric { fidelity })
        };
        Self { decode: of(EvidenceMetric::Decode), prefill: of(EvidenceMetric::Prefill) }
    }
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
