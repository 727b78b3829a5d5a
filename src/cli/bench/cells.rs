//! Cells of the tables about a run.

use crate::stats::TrialSummary;

/// What is not known.
pub(super) fn dash() -> String {
    "–".to_owned()
}

/// A median with its interval.
pub(super) fn figure(summary: Option<&TrialSummary>, show: impl Fn(f64) -> String) -> String {
    let Some(s) = summary else { return dash() };
    match s.interval_95 {
        Some([low, high]) => format!("{} ({}–{})", show(s.median), show(low), show(high)),
        None => show(s.median),
    }
}
