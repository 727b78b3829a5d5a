//! Statistics over predicted and measured values, by row and balanced by configuration.

use crate::stats::weighted_quantile;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::HashMap;

/// Weights that give every configuration the same total: one over its rows.
pub fn balance<'a>(configurations: impl Iterator<Item = &'a str> + Clone) -> Vec<f64> {
    let mut count: HashMap<&str, f64> = HashMap::new();
    configurations.clone().for_each(|c| *count.entry(c).or_default() += 1.0);
    configurations.map(|c| 1.0 / count[c]).collect()
}

/// A predicted value as the statistics see it.
#[derive(Clone, Copy, Debug)]
pub struct ScoredPrediction<'a> {
    /// Predicted over measured, less 1.
    pub error: f64,
    /// Whether the measured value lies in the 80 % and in the 90 % interval.
    pub inside: [bool; 2],
    /// Configuration that the row repeats.
    pub configuration: &'a str,
}

/// Errors and coverage of a set of predictions.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct ErrorScore {
    /// Rows, or configurations where each counts once.
    pub n: usize,
    /// Median of the absolute error.
    pub median_abs_error: f64,
    /// Mean of the absolute error.
    pub mean_abs_error: f64,
    /// 90th percentile of the absolute error.
    pub p90_abs_error: f64,
    /// Median of the signed error; positive when too fast is predicted.
    pub bias: f64,
    /// Fraction inside the 80 % interval.
    pub coverage_80: f64,
    /// Fraction inside the 90 % interval.
    pub coverage_90: f64,
}

impl ErrorScore {
    /// Every row counts once. `None` for no rows.
    #[must_use]
    pub fn by_row(outcomes: &[ScoredPrediction<'_>]) -> Option<Self> {
        Self::weighted(outcomes, &vec![1.0; outcomes.len()], outcomes.len())
    }

    /// Every configuration counts once. `None` for no rows.
    #[must_use]
    pub fn by_configuration(outcomes: &[ScoredPrediction<'_>]) -> Option<Self> {
        let weights = balance(outcomes.iter().map(|o| o.configuration));
        let n = weights.iter().sum::<f64>().round() as usize;
        Self::weighted(outcomes, &weights, n)
    }

    fn weighted(outcomes: &[ScoredPrediction<'_>], weights: &[f64], n: usize) -> Option<Self> {
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            return None;
        }
        let sample = |value: &dyn Fn(&ScoredPrediction<'_>) -> f64| -> Vec<(f64, f64)> {
            outcomes.iter().zip(weights).map(|(o, &w)| (value(o), w)).collect()
        };
        let mean = |sample: &[(f64, f64)]| sample.iter().map(|(x, w)| x * w).sum::<f64>() / total;
        let absolute = sample(&|o| o.error.abs());
        let share = |i: usize| mean(&sample(&|o| f64::from(u8::from(o.inside[i]))));
        Some(Self {
            n,
            median_abs_error: weighted_quantile(&absolute, 0.5),
            mean_abs_error: mean(&absolute),
            p90_abs_error: weighted_quantile(&absolute, 0.9),
            bias: weighted_quantile(&sample(&|o| o.error), 0.5),
            coverage_80: share(0),
            coverage_90: share(1),
        })
    }
}

/// Whether it is rightly said that several Macs are faster or slower than one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct DirectionScore {
    /// Rows that say what one Mac does.
    pub n: usize,
    /// Those of which it is rightly said.
    pub right: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_of_a_configuration_count_once() {
        let outcome = |error, configuration| ScoredPrediction {
            error,
            inside: [error < 0.1, error < 0.2],
            configuration,
        };
        let rows = [outcome(0.5, "a"), outcome(0.5, "a"), outcome(0.5, "a"), outcome(0.0, "b")];
        let by_row = ErrorScore::by_row(&rows).expect("rows");
        assert_eq!((by_row.n, by_row.mean_abs_error, by_row.coverage_80), (4, 0.375, 0.25));
        let balanced = ErrorScore::by_configuration(&rows).expect("rows");
        assert_eq!((balanced.n, balanced.mean_abs_error), (2, 0.25));
        assert!((balanced.coverage_90 - 0.5).abs() < 1e-12);
        assert_eq!(ErrorScore::by_row(&[]), None);
    }
}
