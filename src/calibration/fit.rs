//! Linear fits of kernel times, with covariance.

use nalgebra::{Cholesky, DMatrix, DVector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A timed kernel.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimedKernel {
    /// Counts that the time is linear in; the first is 1 per launch.
    pub counts: Vec<f64>,
    /// Median seconds.
    pub seconds: f64,
    /// Standard error of the median, seconds.
    pub error: f64,
    /// Repetitions.
    pub n: u32,
}

/// Seconds per count, with their covariance.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelFit {
    /// Seconds per count.
    pub coefficients: Vec<f64>,
    /// Covariance of the coefficients, row by row.
    pub covariance: Vec<Vec<f64>>,
    /// Root mean square of the relative deviations of the points.
    pub residual: f64,
    /// What was fitted.
    pub points: Vec<TimedKernel>,
}

/// Relative error of a timed kernel below which the law, not the clock, decides.
const FLOOR: f64 = 0.02;
/// Pivot of a matrix with a diagonal of ones below which the points do not determine the coefficients.
const SINGULAR: f64 = 1e-12;

impl KernelFit {
    /// Least squares of relative deviations, with coefficients that are not negative. `None` when the points do not
    /// determine them.
    #[must_use]
    pub fn of(points: Vec<TimedKernel>) -> Option<Self> {
        let width = points.first()?.counts.len();
        let sound =
            |p: &TimedKernel| p.counts.len() == width && p.seconds.is_finite() && p.seconds > 0.0;
        if !points.iter().all(sound) {
            return None;
        }
        let mut active: Vec<usize> = (0..width).collect();
        loop {
            let (values, inverse) = solve(&points, &active)?;
            // A negative coefficient means that the points do not show this cost.
            if let Some(worst) = (0..active.len())
                .filter(|&i| values[i] < 0.0)
                .min_by(|&a, &b| values[a].total_cmp(&values[b]))
            {
                active.remove(worst);
                if active.is_empty() {
                    return None;
                }
                continue;
            }
            let mut coefficients = vec![0.0; width];
            let mut covariance = vec![vec![0.0; width]; width];
            for (i, &a) in active.iter().enumerate() {
                coefficients[a] = values[i];
                for (j, &b) in active.iter().enumerate() {
                    covariance[a][b] = inverse[(i, j)];
                }
            }
            let squares: f64 = points
                .iter()
                .map(|p| (dot(&p.counts, &coefficients) / p.seconds - 1.0).powi(2))
                .sum();
            let residual = (squares / points.len() as f64).sqrt();
            return Some(Self { coefficients, covariance, residual, points });
        }
    }

    /// Seconds of a kernel.
    #[must_use]
    pub fn seconds(&self, counts: &[f64]) -> f64 {
        dot(counts, &self.coefficients)
    }

    /// Variance of the seconds of a sum of kernels with these counts in total.
    #[must_use]
    pub fn variance(&self, counts: &[f64]) -> f64 {
        let row = |i: usize| -> f64 {
            self.covariance.get(i).map_or(0.0, |r| dot(r, counts)) * counts[i]
        };
        (0..counts.len()).map(row).sum()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Weighted least squares for the chosen counts: coefficients and their covariance.
fn solve(points: &[TimedKernel], active: &[usize]) -> Option<(DVector<f64>, DMatrix<f64>)> {
    let mut normal = DMatrix::zeros(active.len(), active.len());
    let mut right = DVector::zeros(active.len());
    for p in points {
        let sigma = p.error.max(FLOOR * p.seconds);
        let row = DVector::from_iterator(active.len(), active.iter().map(|&a| p.counts[a] / sigma));
        right += &row * (p.seconds / sigma);
        normal += &row * row.transpose();
    }
    let inverse = inverted(normal)?;
    Some((&inverse * right, inverse))
}

/// The inverse of a normal matrix, which is scaled to a diagonal of ones first, because counts differ by many orders of
/// magnitude; `None` for a singular one.
fn inverted(normal: DMatrix<f64>) -> Option<DMatrix<f64>> {
    let scale = normal.diagonal().map(f64::sqrt);
    if scale.iter().any(|s| !s.is_finite() || *s <= 0.0) {
        return None;
    }
    let scales = &scale * scale.transpose();
    let factor = Cholesky::new(normal.component_div(&scales))?;
    let determined = factor.l_dirty().diagonal().iter().all(|pivot| pivot * pivot >= SINGULAR);
    determined.then(|| factor.inverse().component_div(&scales))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(counts: &[f64], seconds: f64) -> TimedKernel {
        TimedKernel { counts: counts.to_vec(), seconds, error: 0.0, n: 9 }
    }

    #[test]
    fn a_line_is_found_again() {
        let law = |x: f64| 5e-6 + x / 2e9;
        let points = [1e3, 1e5, 1e7].map(|x| point(&[1.0, x], law(x))).to_vec();
        let fit = KernelFit::of(points).expect("a fit");
        assert!((fit.coefficients[0] / 5e-6 - 1.0).abs() < 1e-6, "{fit:?}");
        assert!((fit.coefficients[1] * 2e9 - 1.0).abs() < 1e-6, "{fit:?}");
        assert!(fit.residual < 1e-6);
        // 2 % per point leaves about that much on a large kernel.
        let large = [1.0, 1e7];
        let relative = fit.variance(&large).sqrt() / fit.seconds(&large);
        assert!((0.005..0.03).contains(&relative), "{relative}");
    }

    #[test]
    fn costs_are_never_negative() {
        let points = [(1e3, 1e-6), (1e4, 1.3e-5), (1e5, 1.4e-4)];
        let points = points.map(|(x, t)| point(&[1.0, x], t)).to_vec();
        let fit = KernelFit::of(points).expect("a fit");
        assert!(fit.coefficients.iter().all(|c| *c >= 0.0), "{fit:?}");
    }

    #[test]
    fn what_is_not_determined_is_refused() {
        assert!(KernelFit::of(vec![]).is_none());
        assert!(KernelFit::of(vec![point(&[1.0, 5.0], 1.0); 3]).is_none());
        assert!(KernelFit::of(vec![point(&[1.0, 5.0], f64::NAN)]).is_none());
    }
}
