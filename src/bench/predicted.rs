//! Predictions next to what was measured.

use super::summary::{CaseSummary, TrialMetric};
use crate::estimate::Speed;
use crate::roofline::{Coefficients, Silicon};
use crate::run::{Program, Run};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One measured figure with its prediction.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct PredictedFigure {
    /// Label of the engine.
    pub engine: String,
    /// The case.
    pub case: String,
    /// The figure.
    pub metric: TrialMetric,
    /// Median of the trials.
    pub measured: f64,
    /// The prediction.
    pub predicted: f64,
    /// Interval that should hold 80 % of measurements.
    pub interval_80: [f64; 2],
    /// Interval that should hold 90 % of measurements.
    pub interval_90: [f64; 2],
    /// `predicted / measured − 1`.
    pub error: f64,
}

/// Predicts decode rate, prefill rate and time to first token of every case of an engine. The latter two are left out
/// for short prompts, whose time to first token is mostly the server's, and for prompts that were partly in a cache.
#[must_use]
pub fn predict(
    summary: &[CaseSummary],
    label: &str,
    speed: &Speed,
    engine: Program,
    coefficients: &Coefficients,
    target: &Silicon,
) -> Vec<PredictedFigure> {
    let mut out = Vec::new();
    for s in summary.iter().filter(|s| s.engine == label && s.users <= 1) {
        let tokens = |m: TrialMetric| s.metric(m).map_or(0, |v| v.median.round() as u32);
        let run = Run::default()
            .with_program(engine)
            .with_context(tokens(TrialMetric::PromptTokens))
            .with_generated(tokens(TrialMetric::GeneratedTokens))
            .with_batch(s.batch.unwrap_or(1));
        let work = run.work;
        let mut add = |metric: TrialMetric, rate: f64, interval_80, interval_90| {
            let Some(measured) = s.metric(metric).map(|m| m.median).filter(|m| *m > 0.0) else {
                return;
            };
            out.push(PredictedFigure {
                engine: label.to_owned(),
                case: s.case.clone(),
                metric,
                measured,
                predicted: rate,
                interval_80,
                interval_90,
                error: rate / measured - 1.0,
            });
        };
        let d = speed.decode(coefficients, target, &run);
        add(TrialMetric::DecodeTokensPerS, d.tokens_per_s, d.interval_80, d.interval_90);
        let cached = tokens(TrialMetric::CachedTokens);
        if work.context_tokens >= 256 && cached < work.context_tokens / 10 {
            let p = speed.prefill(coefficients, target, &run);
            add(TrialMetric::PrefillTokensPerS, p.tokens_per_s, p.interval_80, p.interval_90);
            let wait = |ends| p.ttft_at(ends, &work);
            add(TrialMetric::TtftS, p.ttft_s, wait(p.interval_80), wait(p.interval_90));
        }
    }
    out
}
