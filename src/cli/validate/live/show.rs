//! Comparisons as they are made, and in sum.

use super::super::live_answer::{LiveSummary, OfMetric};
use crate::calibration::evidence::{EvidenceMetric, LiveComparison, Quality};
use crate::estimate::Fidelity;
use std::collections::BTreeMap;

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
