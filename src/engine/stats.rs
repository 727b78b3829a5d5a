//! Robust statistics of repeated timings.

use serde::Serialize;

/// Middle and spread of repeated measurements.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Median.
    pub median: f64,
    /// Standard deviation by the median absolute deviation.
    pub deviation: f64,
    /// Standard error of the median.
    pub median_error: f64,
    /// Number of measurements.
    pub n: u32,
}

/// The median; 0 of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (n, i) if n % 2 == 1 => sorted[i],
        (_, i) => (sorted[i - 1] + sorted[i]) / 2.0,
    }
}

/// Quantile `q` from 0 to 1 by linear interpolation; 0 of nothing.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// Middle and spread; `None` of nothing.
#[must_use]
pub fn spread_of(values: &[f64]) -> Option<Spread> {
    if values.is_empty() {
        return None;
    }
    let middle = median(values);
    let away: Vec<f64> = values.iter().map(|v| (v - middle).abs()).collect();
    // 1.4826 makes the median absolute deviation a standard deviation of normal data, 1.2533 = sqrt(pi / 2) is the
    // standard error of a median relative to that of a mean.
    let deviation = 1.4826 * median(&away);
    let n = values.len();
    let median_error = 1.2533 * deviation / (n as f64).sqrt();
    Some(Spread { median: middle, deviation, median_error, n: n as u32 })
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

    #[test]
    fn quantiles_interpolate() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!((median(&values), quantile(&values, 0.5)), (2.5, 2.5));
        assert_eq!((quantile(&values, 0.0), quantile(&values, 1.0)), (1.0, 4.0));
    }
}
