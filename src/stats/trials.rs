//! Few, noisy trials: medians with bootstrap intervals, outliers that are shown and kept, paired ratios.

use super::order::quantile_of_sorted;
use super::spread::MAD_SCALE;
use super::{SEED, median, median_in_place};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Resamples of a bootstrap.
const RESAMPLES: usize = 2000;
/// Modified z-score above which a value is called an outlier (Iglewicz and Hoaglin, "How to Detect and Handle
/// Outliers", 1993).
const OUTLIER_Z: f64 = 3.5;

/// Middle and spread of a set of trials.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct TrialSummary {
    /// Number of values.
    pub n: usize,
    /// The median.
    pub median: f64,
    /// 95 % percentile-bootstrap interval of the median; `None` for fewer than three values, which do not tell.
    pub interval_95: Option<[f64; 2]>,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Positions of values far from the rest (modified z-score above 3.5). They are part of all figures here.
    pub outliers: Vec<usize>,
}

impl TrialSummary {
    /// Summarizes finite values; `None` when there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.iter().any(|v| !v.is_finite()) {
            return None;
        }
        Some(Self {
            n: values.len(),
            median: median(values)?,
            interval_95: interval_of_the_median(values),
            min: values.iter().copied().reduce(f64::min)?,
            max: values.iter().copied().reduce(f64::max)?,
            outliers: outliers(values),
        })
    }

    /// Summarizes the quotients `a[i] / b[i]` of trials that were run in turn. Pairs with a zero or missing side are
    /// left out by the caller.
    #[must_use]
    pub fn of_ratios(pairs: &[(f64, f64)]) -> Option<Self> {
        let ratios: Vec<f64> = pairs.iter().map(|(a, b)| a / b).collect();
        Self::of(&ratios)
    }
}

/// 95 % percentile interval of the median over resamples with replacement (Efron and Tibshirani, "An Introduction to
/// the Bootstrap", 1993, chapter 13).
fn interval_of_the_median(values: &[f64]) -> Option<[f64; 2]> {
    if values.len() < 3 {
        return None;
    }
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut resample = vec![0.0; values.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            resample.iter_mut().for_each(|v| *v = values[rng.usize(..values.len())]);
            median_in_place(&mut resample)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    Some([quantile_of_sorted(&medians, 0.025)?, quantile_of_sorted(&medians, 0.975)?])
}

/// Positions whose distance from the median is more than 3.5 robust standard deviations. Four values are the fewest
/// that can have an outlier.
fn outliers(values: &[f64]) -> Vec<usize> {
    let Some(middle) = median(values).filter(|_| values.len() >= 4) else { return Vec::new() };
    let distances: Vec<f64> = values.iter().map(|v| (v - middle).abs()).collect();
    // Values that are mostly equal have no spread; a thousandth of the median stands in for it.
    let spread = MAD_SCALE * median(&distances).unwrap_or(0.0);
    let spread = spread.max(middle.abs() * 1e-3);
    let far = |d: &f64| *d > OUTLIER_Z * spread;
    distances.iter().enumerate().filter(|(_, d)| far(d)).map(|(i, _)| i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stall_is_flagged_and_stays_in() {
        let values = [20.1, 20.0, 19.9, 20.2, 3.1, 20.0];
        let s = TrialSummary::of(&values).unwrap();
        assert_eq!(s.outliers, [4]);
        assert_eq!((s.n, s.min, s.median), (6, 3.1, 20.0));
    }

    #[test]
    fn too_few_values_have_no_interval() {
        assert_eq!(TrialSummary::of(&[]), None);
        assert_eq!(TrialSummary::of(&[1.0, f64::NAN]), None);
        assert_eq!(TrialSummary::of(&[2.0, 3.0]).unwrap().interval_95, None);
        assert_eq!(TrialSummary::of(&[1.0, 2.0, 3.0]).unwrap().interval_95, Some([1.0, 3.0]));
    }

    #[test]
    fn the_interval_covers_the_true_median_about_as_often_as_it_says() {
        let mut rng = fastrand::Rng::with_seed(7);
        // Sum of uniform numbers around 10: symmetric, so its median is 10.
        let mut draw = || 10.0 + (0..6).map(|_| rng.f64() - 0.5).sum::<f64>();
        let covered = (0..300)
            .filter(|_| {
                let values: Vec<f64> = (0..15).map(|_| draw()).collect();
                let [low, high] = TrialSummary::of(&values).unwrap().interval_95.unwrap();
                (low..=high).contains(&10.0)
            })
            .count();
        assert!((270..=297).contains(&covered), "{covered} of 300");
    }

    #[test]
    fn ratios_are_paired() {
        // Both engines slow down together; the ratio does not change.
        let pairs = [(40.0, 20.0), (30.0, 15.0), (20.0, 10.0), (10.0, 5.0)];
        let s = TrialSummary::of_ratios(&pairs).unwrap();
        assert_eq!((s.median, s.interval_95), (2.0, Some([2.0, 2.0])));
    }

    proptest! {
        #[test]
        fn the_summary_is_ordered(values in proptest::collection::vec(0.01..1e6_f64, 3..40)) {
            let s = TrialSummary::of(&values).unwrap();
            let [low, high] = s.interval_95.unwrap();
            prop_assert!(s.min <= low && low <= high && high <= s.max);
            prop_assert!(s.min <= s.median && s.median <= s.max);
        }
    }
}
