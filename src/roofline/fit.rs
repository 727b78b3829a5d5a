//! Robust regression of a law's parameters on measured times.
//!
//! The logarithm of every fitted parameter has a Gaussian prior; the residuals of the logarithms of the times have
//! Huber's loss. Gauss–Newton with Levenberg's damping and numeric derivatives finds the mode. Nothing is random.

use super::parameters::Spec;
use nalgebra::{Cholesky, DMatrix, DVector};

/// A measured time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Natural logarithm of the time in seconds.
    pub log_time: f64,
    /// Weight of the row; 0 leaves it out.
    pub weight: f64,
}

/// A law evaluated on a set of rows.
pub trait Law: Sync {
    /// Natural logarithms of the predicted times of the given rows.
    fn log_times(&self, values: &[f64], rows: &[usize]) -> Vec<f64>;
}

/// A regression problem.
pub struct Regression<'a> {
    /// The parameters and their priors.
    pub specs: &'a [Spec],
    /// The law.
    pub law: &'a dyn Law,
    /// Scale of a residual.
    pub sigma: f64,
}

/// A solved regression.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// Values in the order of the parameters.
    pub values: Vec<f64>,
    /// Covariance of the logarithms of the parameters; zero where a parameter is not fitted.
    pub covariance: DMatrix<f64>,
    /// For every parameter, the rows whose time changes noticeably with it.
    pub informed_by: Vec<Vec<usize>>,
}

/// Residuals beyond this many scales count linearly.
const HUBER: f64 = 1.5;
/// Step of the numeric derivatives, on the logarithm.
const STEP: f64 = 1e-4;
/// Most iterations of one fit.
const ITERATIONS: usize = 80;
/// A row depends on a parameter when doubling it changes the time by more than about this.
const NOTICEABLE: f64 = 0.01;

impl Regression<'_> {
    /// Fits, starting from the priors.
    #[must_use]
    pub fn solve(&self, observations: &[Observation]) -> Solution {
        let rows: Vec<usize> =
            (0..observations.len()).filter(|&i| observations[i].weight > 0.0).collect();
        let mut values: Vec<f64> = self.specs.iter().map(|s| s.prior).collect();
        let mut predicted = self.law.log_times(&values, &rows);
        let mut cost = self.cost(&values, &predicted, observations, &rows);
        let mut damping = 1e-3;
        for _ in 0..ITERATIONS {
            let mut system = self.system(&values, &predicted, observations, &rows);
            self.hold_at_bounds(&values, &mut system);
            let before = cost;
            loop {
                let next = system.step(damping).map(|step| self.moved(&values, step.as_slice()));
                if let Some(next) = next {
                    let times = self.law.log_times(&next, &rows);
                    let new = self.cost(&next, &times, observations, &rows);
                    if new <= cost {
                        (values, predicted, cost) = (next, times, new);
                        damping = f64::max(damping / 5.0, 1e-7);
                        break;
                    }
                }
                damping *= 5.0;
                if damping > 1e6 {
                    break;
                }
            }
            if before - cost <= 1e-9 * before.max(1.0) {
                break;
            }
        }
        let system = self.system(&values, &predicted, observations, &rows);
        let covariance = self.full_covariance(&system);
        let informed_by = self.informed_by(&system, &rows);
        Solution { values, covariance, informed_by }
    }

    /// The fitted parameters with their numbers.
    fn free(&self) -> impl Iterator<Item = (usize, &Spec)> {
        self.specs.iter().enumerate().filter(|(_, s)| s.prior_sd > 0.0)
    }

    /// Takes parameters out of a step that stand at an end of their range and would leave it.
    fn hold_at_bounds(&self, values: &[f64], system: &mut System) {
        for (k, (i, spec)) in self.free().enumerate() {
            let above = values[i] >= spec.high && system.gradient[k] < 0.0;
            let below = values[i] <= spec.low.max(1e-6) && system.gradient[k] > 0.0;
            if above || below {
                system.gradient[k] = 0.0;
                system.matrix.row_mut(k).fill(0.0);
                system.matrix.column_mut(k).fill(0.0);
                system.matrix[(k, k)] = 1.0;
            }
        }
    }

    fn moved(&self, values: &[f64], step: &[f64]) -> Vec<f64> {
        let mut next = values.to_vec();
        for ((i, spec), d) in self.free().zip(step) {
            // The plausible range bounds every parameter; half a unit at once is as far as a linear step can be trusted.
            let value = next[i] * (-d.clamp(-0.5, 0.5)).exp();
            next[i] = value.clamp(spec.low.max(1e-6), spec.high);
        }
        next
    }

    fn cost(&self, values: &[f64], times: &[f64], o: &[Observation], rows: &[usize]) -> f64 {
        let rows = rows.iter().zip(times).map(|(&i, t)| {
            let r = ((t - o[i].log_time) / self.sigma).abs();
            o[i].weight * if r <= HUBER { r * r / 2.0 } else { HUBER * r - HUBER * HUBER / 2.0 }
        });
        let priors = self.free().map(|(i, s)| (values[i] / s.prior).ln() / s.prior_sd);
        rows.sum::<f64>() + priors.map(|z| z * z / 2.0).sum::<f64>()
    }

    fn system(&self, values: &[f64], times: &[f64], o: &[Observation], rows: &[usize]) -> System {
        let free: Vec<(usize, &Spec)> = self.free().collect();
        let jacobian: Vec<Vec<f64>> = free
            .iter()
            .map(|&(i, _)| {
                let mut near = values.to_vec();
                near[i] *= STEP.exp();
                let moved = self.law.log_times(&near, rows);
                moved.iter().zip(times).map(|(a, b)| (a - b) / STEP).collect()
            })
            .collect();
        let n = free.len();
        let mut matrix = DMatrix::zeros(n, n);
        let mut gradient = DVector::zeros(n);
        let mut weights = Vec::with_capacity(rows.len());
        for (&i, t) in rows.iter().zip(times) {
            let r = t - o[i].log_time;
            let robust = (HUBER * self.sigma / r.abs().max(1e-12)).min(1.0);
            weights.push((o[i].weight * robust / self.sigma.powi(2), r));
        }
        for a in 0..n {
            for b in 0..=a {
                let products = jacobian[a].iter().zip(&jacobian[b]).zip(&weights);
                let sum: f64 = products.map(|((x, y), (w, _))| x * y * w).sum();
                matrix[(a, b)] = sum;
                matrix[(b, a)] = sum;
            }
            gradient[a] = jacobian[a].iter().zip(&weights).map(|(x, (w, r))| x * w * r).sum();
            let (i, spec) = free[a];
            let precision = spec.prior_sd.powi(-2);
            matrix[(a, a)] += precision;
            gradient[a] += precision * (values[i] / spec.prior).ln();
        }
        System { matrix, gradient, jacobian }
    }

    fn full_covariance(&self, system: &System) -> DMatrix<f64> {
        let mut out = DMatrix::zeros(self.specs.len(), self.specs.len());
        let Some(factor) = Cholesky::new(system.matrix.clone()) else { return out };
        let inverse = factor.inverse();
        for (column, (j, _)) in self.free().enumerate() {
            for (row, (i, _)) in self.free().enumerate() {
                out[(i, j)] = inverse[(row, column)];
            }
        }
        out
    }

    fn informed_by(&self, system: &System, rows: &[usize]) -> Vec<Vec<usize>> {
        let mut out = vec![Vec::new(); self.specs.len()];
        for ((i, _), column) in self.free().zip(&system.jacobian) {
            let noticed = column.iter().zip(rows).filter(|(d, _)| d.abs() > NOTICEABLE);
            out[i] = noticed.map(|(_, &row)| row).collect();
        }
        out
    }
}

struct System {
    matrix: DMatrix<f64>,
    gradient: DVector<f64>,
    /// One column per free parameter.
    jacobian: Vec<Vec<f64>>,
}

impl System {
    fn step(&self, damping: f64) -> Option<DVector<f64>> {
        let mut damped = self.matrix.clone();
        for i in 0..damped.nrows() {
            damped[(i, i)] *= 1.0 + damping;
        }
        Cholesky::new(damped).map(|factor| factor.solve(&self.gradient))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn spec(prior: f64, prior_sd: f64) -> Spec {
        Spec::new("p", [prior, prior_sd], [1e-3, 1e3])
    }

    /// t = a·x + b, with x = 1, 2, … of the row.
    struct Line;

    impl Law for Line {
        fn log_times(&self, v: &[f64], rows: &[usize]) -> Vec<f64> {
            rows.iter().map(|&i| (v[0] * (i + 1) as f64 + v[1] + v[2]).ln()).collect()
        }
    }

    #[test]
    fn a_known_law_is_found_despite_an_outlier() {
        let specs = [spec(1.0, 2.0), spec(1.0, 2.0), spec(0.5, 0.0)];
        let law = Line;
        let fit = Regression { specs: &specs, law: &law, sigma: 0.02 };
        let mut observations: Vec<Observation> = (0..20)
            .map(|i| Observation { log_time: (0.3 * f64::from(i + 1) + 3.5_f64).ln(), weight: 1.0 })
            .collect();
        observations[7].log_time += 1.0;
        let found = fit.solve(&observations);
        assert!((found.values[0] - 0.3).abs() < 0.01, "{:?}", found.values);
        assert!((found.values[1] - 3.0).abs() < 0.05, "{:?}", found.values);
        assert_eq!(found.values[2], 0.5);
        assert!(found.covariance.row(2).iter().all(|c| *c == 0.0));
        assert!(found.covariance[(0, 0)] > 0.0);
    }
}
