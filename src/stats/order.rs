//! Quantiles and medians of unsorted values.

/// A quantile with linear interpolation between order statistics: type 7 of Hyndman and Fan ("Sample Quantiles in
/// Statistical Packages", The American Statistician 50, 1996), the default of R and NumPy. `q` goes from 0 to 1; `None`
/// without values.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, q)
}

/// The same of values in ascending order.
#[must_use]
pub(super) fn quantile_of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let at = q.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted.get(at.floor() as usize)?, sorted.get(at.ceil() as usize)?);
    Some(below + (above - below) * at.fract())
}

/// The median; `None` without values.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    median_in_place(&mut values.to_vec())
}

/// The median by selection, which is much faster than sorting thousands of values; it changes their order. `None`
/// without values.
#[must_use]
pub fn median_in_place(values: &mut [f64]) -> Option<f64> {
    let (half, odd) = (values.len() / 2, values.len() % 2 == 1);
    if values.is_empty() {
        return None;
    }
    let (below, upper, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let upper = *upper;
    if odd {
        return Some(upper);
    }
    below.iter().copied().max_by(f64::total_cmp).map(|lower| (lower + upper) / 2.0)
}

/// The smallest of the (value, weight) pairs' values whose cumulative weight reaches `q` of the total; 0 without pairs.
#[must_use]
pub fn weighted_quantile(sample: &[(f64, f64)], q: f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = sorted.iter().map(|(_, w)| w).sum();
    let mut sum = 0.0;
    for (value, weight) in &sorted {
        sum += weight;
        if sum >= q * total {
            return *value;
        }
    }
    sorted.last().map_or(0.0, |(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!((median(&values), quantile(&values, 0.5)), (Some(2.5), Some(2.5)));
        assert_eq!((quantile(&values, 0.0), quantile(&values, 1.0)), (Some(1.0), Some(4.0)));
        assert_eq!(quantile(&[1.0, 2.0], 0.95), Some(1.95));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn selection_gives_the_median() {
        assert_eq!(median_in_place(&mut []), None);
        assert_eq!(median_in_place(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median_in_place(&mut [4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn weights_shift_a_quantile() {
        let sample = [(3.0, 1.0), (1.0, 1.0), (2.0, 8.0)];
        assert_eq!(
            [0.1, 0.5, 0.9, 1.0].map(|q| weighted_quantile(&sample, q)),
            [1.0, 2.0, 2.0, 3.0]
        );
        assert_eq!(weighted_quantile(&[], 0.5), 0.0);
    }
}
