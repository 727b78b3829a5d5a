//! Statistics in one place: order statistics, spread of repeated timings, medians of trials with bootstrap intervals,
//! growth over a session, and the normal and Student's distributions (`statrs`).
//!
//! Order statistics are not taken from `statrs`: its quantiles are of type 8 of Hyndman and Fan, the figures here of
//! type 7 (the default of R and NumPy), and its selection fails on values that are no numbers. Resampling has a fixed
//! seed, so that the same values give the same interval.

mod distribution;
mod order;
mod slope;
mod spread;
mod trials;

pub use distribution::{
    BAND_Z80, BAND_Z90, Z80, Z90, Z95, few_clusters, normal_quantile, normal_share,
};
pub use order::{median, median_in_place, quantile, weighted_quantile};
pub use slope::{MIN_POINTS, Slope, Trend, leak_slope};
pub use spread::{TimingSpread, spread_of};
pub use trials::TrialSummary;

/// Seed of every resampling generator.
const SEED: u64 = 0x6d6c_7870_6c61_6e00;
