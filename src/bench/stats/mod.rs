//! Statistics of few, noisy trials: medians with bootstrap intervals, outliers that are shown and kept, paired ratios.
//!
//! Everything here is deterministic: the resampling generator has a fixed seed, so the same trials give the same
//! interval.

mod slope;

pub use slope::{MIN_POINTS, Slope, Verdict, leak_slope};

use serde::{Deserialize, Serialize};

/// Resamples of a bootstrap.
const RESAMPLES: usize = 2000;
/// Modified z-score above which a value is called an outlier (Iglewicz and Hoaglin, "How to Detect and Handle
/// Outliers", 1993).
const OUTLIER_Z: f64 = 3.5;
/// Makes the median absolute deviation of normal values estimate their standard deviation.
const MAD_SCALE: f64 = 1.4826;
/// Seed of the resampling generator.
const SEED: u64 = 0x6d6c_7870_6c61_6e00;

/// Middle and spread of a set of trials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
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

impl Summary {
    /// Summarises finite values; `None` when there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || values.iter().any(|v| !v.is_finite()) {
            return None;
        }
        let sorted = sorted(values);
        Some(Self {
            n: values.len(),
            median: quantile_of_sorted(&sorted, 0.5),
            interval_95: bootstrap(values, median_of),
            min: sorted[0],
            max: sorted[sorted.len() - 1],
            outliers: outliers(values),
        })
    }

    /// Summarises the quotients `a[i] / b[i]` of trials that were run in turn. Pairs with a zero or missing side are
    /// left out by the caller.
    #[must_use]
    pub fn of_ratios(pairs: &[(f64, f64)]) -> Option<Self> {
        let ratios: Vec<f64> = pairs.iter().map(|(a, b)| a / b).collect();
        Self::of(&ratios)
    }
}

/// A quantile with linear interpolation between order statistics (type 7 of Hyndman and Fan, the default of R and
/// NumPy); `None` without values.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    (!values.is_empty()).then(|| quantile_of_sorted(&sorted(values), q))
}

/// The median; `None` without values.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// `sorted` is not empty.
fn quantile_of_sorted(sorted: &[f64], q: f64) -> f64 {
    let position = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let share = position - below as f64;
    sorted[below] + share * (sorted[above] - sorted[below])
}

fn median_of(values: &[f64]) -> f64 {
    quantile_of_sorted(&sorted(values), 0.5)
}

/// 95 % percentile interval of a statistic over resamples with replacement (Efron and Tibshirani, "An Introduction to
/// the Bootstrap", 1993, chapter 13).
fn bootstrap(values: &[f64], statistic: impl Fn(&[f64]) -> f64) -> Option<[f64; 2]> {
    if values.len() < 3 {
        return None;
    }
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut resample = vec![0.0; values.len()];
    let mut statistics: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            resample.iter_mut().for_each(|v| *v = values[rng.usize(..values.len())]);
            statistic(&resample)
        })
        .collect();
    statistics.sort_by(f64::total_cmp);
    Some([quantile_of_sorted(&statistics, 0.025), quantile_of_sorted(&statistics, 0.975)])
}

/// Positions whose distance from the median is more than 3.5 robust standard deviations. Four values are the fewest
/// that can have an outlier.
fn outliers(values: &[f64]) -> Vec<usize> {
    if values.len() < 4 {
        return Vec::new();
    }
    let middle = median_of(values);
    let distances: Vec<f64> = values.iter().map(|v| (v - middle).abs()).collect();
    let spread = MAD_SCALE * median_of(&distances);
    // Values that are mostly equal have no spread; a thousandth of the median stands in for it.
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
        let s = Summary::of(&values).unwrap();
        assert_eq!(s.outliers, [4]);
        assert_eq!((s.n, s.min, s.median), (6, 3.1, 20.0));
    }

    #[test]
    fn too_few_values_have_no_interval() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
        assert_eq!(Summary::of(&[2.0, 3.0]).unwrap().interval_95, None);
        assert_eq!(Summary::of(&[1.0, 2.0, 3.0]).unwrap().interval_95, Some([1.0, 3.0]));
    }

    #[test]
    fn the_interval_covers_the_true_median_about_as_often_as_it_says() {
        let mut rng = fastrand::Rng::with_seed(7);
        // Sum of uniform numbers around 10: symmetric, so its median is 10.
        let mut draw = || 10.0 + (0..6).map(|_| rng.f64() - 0.5).sum::<f64>();
        let covered = (0..300)
            .filter(|_| {
                let values: Vec<f64> = (0..15).map(|_| draw()).collect();
                let [low, high] = Summary::of(&values).unwrap().interval_95.unwrap();
                (low..=high).contains(&10.0)
            })
            .count();
        assert!((270..=297).contains(&covered), "{covered} of 300");
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0], 0.5), Some(2.5));
        assert_eq!(quantile(&[1.0, 2.0], 0.95), Some(1.95));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn ratios_are_paired() {
        // Both engines slow down together; the ratio does not change.
        let pairs = [(40.0, 20.0), (30.0, 15.0), (20.0, 10.0), (10.0, 5.0)];
        let s = Summary::of_ratios(&pairs).unwrap();
        assert_eq!((s.median, s.interval_95), (2.0, Some([2.0, 2.0])));
    }

    proptest! {
        #[test]
        fn the_summary_is_ordered(values in proptest::collection::vec(0.01..1e6_f64, 3..40)) {
            let s = Summary::of(&values).unwrap();
            let [low, high] = s.interval_95.unwrap();
            prop_assert!(s.min <= low && low <= high && high <= s.max);
            prop_assert!(s.min <= s.median && s.median <= s.max);
        }
    }
}
