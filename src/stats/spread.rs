//! Middle and spread of repeated timings, robust against outliers.

use super::median;
use serde::Serialize;

/// Makes the median absolute deviation of normal values estimate their standard deviation.
pub(super) const MAD_SCALE: f64 = 1.4826;
/// Standard error of a median of normal values relative to that of a mean: the root of half of pi.
const MEDIAN_ERROR: f64 = 1.2533;

/// Middle and spread of repeated measurements.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TimingSpread {
    /// Median.
    pub median: f64,
    /// Standard deviation by the median absolute deviation.
    pub deviation: f64,
    /// Standard error of the median.
    pub median_error: f64,
    /// Number of measurements.
    pub n: u32,
}

/// Middle and spread; `None` of nothing.
#[must_use]
pub fn spread_of(values: &[f64]) -> Option<TimingSpread> {
    let middle = median(values)?;
    let away: Vec<f64> = values.iter().map(|v| (v - middle).abs()).collect();
    let deviation = MAD_SCALE * median(&away)?;
    let n = values.len();
    let median_error = MEDIAN_ERROR * deviation / (n as f64).sqrt();
    Some(TimingSpread { median: middle, deviation, median_error, n: n as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_hardly_move_the_middle() {
        let s = spread_of(&[1.0, 1.1, 0.9, 1.0, 9.0]).expect("values");
        assert_eq!(s.median, 1.0);
        assert!((s.deviation - 0.14826).abs() < 1e-9, "{s:?}");
        assert!(spread_of(&[]).is_none());
    }
}
