//! The normal and Student's distributions.

use statrs::distribution::{ContinuousCDF, Normal};

/// Standard normal quantile of 0.9, the upper end of a central 80 % interval.
pub const Z80: f64 = 1.281_551_565_544_600_4;
/// Standard normal quantile of 0.95, the upper end of a central 90 % interval.
pub const Z90: f64 = 1.644_853_626_951_472_2;
/// The same of a 95 % interval.
pub const Z95: f64 = 1.959_963_984_540_054;

/// [`Z80`] to the digits with which the committed bands of intervals were made.
pub const BAND_Z80: f64 = 1.2816;
/// [`Z90`] to these digits.
pub const BAND_Z90: f64 = 1.6449;

/// Share of the standard normal distribution below `z`.
#[must_use]
pub fn normal_share(z: f64) -> f64 {
    Normal::standard().cdf(z)
}

/// Quantile of the standard normal distribution; `p` is held to 0 and 1, whose quantiles are infinite. No number for no
/// number.
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    if p.is_nan() { p } else { Normal::standard().inverse_cdf(p.clamp(0.0, 1.0)) }
}

/// Factor on a logarithmic width that was learned from few clusters (owner and chip): the quantile of Student's t over
/// the normal quantile `z`, with one degree of freedom less than clusters, but at least three.
///
/// The first terms of the expansion by Abramowitz and Stegun (26.7.5), which the committed bands are made with: at three
/// degrees of freedom 2 % below the exact quotient, at ten 0.1 %.
#[must_use]
pub fn few_clusters(z: f64, clusters: usize) -> f64 {
    let freedom = clusters.saturating_sub(1).max(3) as f64;
    let first = (z.powi(3) + z) / (4.0 * freedom);
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * freedom.powi(2));
    (z + first + second) / z
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::StudentsT;

    #[test]
    fn the_constants_are_the_quantiles() {
        for (p, z) in [(0.9, Z80), (0.95, Z90), (0.975, Z95), (0.05, -Z90), (0.5, 0.0)] {
            assert!((normal_quantile(p) - z).abs() < 1e-14, "{p}: {}", normal_quantile(p));
            // As close as the error function of `statrs` is.
            assert!((normal_share(z) - p).abs() < 1e-11, "{z}: {}", normal_share(z));
        }
        assert!((normal_quantile(0.9999) - 3.719_016_485_455_68).abs() < 1e-12);
        assert!(normal_quantile(1.0 - 1e-16).is_finite());
        assert!(normal_quantile(f64::NAN).is_nan());
    }

    #[test]
    fn few_clusters_widen_as_students_t_does() {
        for (p, z) in [(0.9, Z80), (0.95, Z90)] {
            for (clusters, within) in [(1, 0.021), (4, 0.021), (6, 0.006), (11, 0.001), (100, 1e-6)]
            {
                let freedom = f64::max(clusters as f64 - 1.0, 3.0);
                let exact =
                    StudentsT::new(0.0, 1.0, freedom).expect("a distribution").inverse_cdf(p) / z;
                let ratio = few_clusters(z, clusters) / exact;
                assert!((1.0 - within..=1.0).contains(&ratio), "{clusters}: {ratio}");
            }
        }
    }
}
