//! A profile of one chip bin, scaled to another bin of the same generation.
//!
//! Kernels that stream weights or caches follow the memory bus, those of prompts the GPU's arithmetic; what a launch
//! costs stays as it is. No pair of bins and no pair of machines of one bin has been calibrated yet, so the widths added
//! here are assumptions.

use super::profile::Profile;

/// What a bin's kernels scale with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Family number: 4 for M4.
    pub generation: u32,
    /// Bytes per second of the memory bus.
    pub bandwidth: f64,
    /// GPU cores times their clock in GHz.
    pub arithmetic: f64,
}

/// Standard deviation of the logarithm of a time from one machine of a bin to another: its macOS, heat and background
/// work.
pub const ANOTHER_MACHINE: f64 = 0.04;
/// The same that changing the bin adds, whatever the bins.
const CHANGE: f64 = 0.08;
/// The part of the logarithm of the scale that may be wrong.
const SHARE: f64 = 0.2;

impl Profile {
    /// This profile for another bin, and the standard deviation of the logarithm of its times that this adds; `None`
    /// for another generation.
    #[must_use]
    pub fn transferred(&self, from: Bin, to: Bin) -> Option<(Self, f64)> {
        let sound = [from.bandwidth, from.arithmetic, to.bandwidth, to.arithmetic];
        if from.generation != to.generation || sound.iter().any(|x| !x.is_finite() || *x <= 0.0) {
            return None;
        }
        let (bus, arithmetic) = (from.bandwidth / to.bandwidth, from.arithmetic / to.arithmetic);
        let mut out = self.clone();
        for (name, fit) in &mut out.classes {
            let prompt = name.contains("matmul") || name.contains("prompt");
            let scale = if prompt { arithmetic } else { bus };
            // The first coefficient is that of a launch.
            for (i, c) in fit.coefficients.iter_mut().enumerate().skip(1) {
                *c *= scale;
                for (j, row) in fit.covariance.iter_mut().enumerate() {
                    if let Some(v) = row.get_mut(i) {
                        *v *= scale;
                    }
                    if i == j {
                        row.iter_mut().for_each(|v| *v *= scale);
                    }
                }
            }
        }
        let distance = bus.ln().abs().max(arithmetic.ln().abs());
        Some((out, CHANGE.hypot(SHARE * distance)))
    }
}
