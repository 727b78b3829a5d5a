//! Time of a training iteration: matrix products, launches, and reads of weights.
//!
//! ```text
//! t = FLOPs / (0.955 F) + kernels c + bytes of weights / (0.85 bandwidth)
//! ```
//!
//! `F` is the rate of dense products of prompts and `c` the time per launch of a decode step. The one number that was
//! fitted on training runs is 0.955, on six published ones with a named chip (rows t006, t008, t037, t047, t115 and t116 of
//! data/training.csv: M1 Max, M3 Ultra, M4 Max, M4 Pro, each as its largest bin that has the memory; 96 tokens are assumed for
//! t037): errors from -9 to +11 %.

use super::decode::DecodeLaw;
use super::prefill::PrefillLaw;
use super::silicon::Silicon;

/// Share of the rate of prompts that products of training reach.
const PRODUCTS: f64 = 0.955;
/// Share of the bandwidth at which weights are read.
const STREAM: f64 = 0.85;
/// Half of the width of the 90 % interval of the logarithm: +-15 %.
pub const HALF_WIDTH_90: f64 = 0.14;

/// Work of one iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingWork {
    /// Floating-point operations of matrix products.
    pub flops: u64,
    /// Kernels launched.
    pub kernels: u64,
    /// Bytes of weights that products read.
    pub weight_bytes: u64,
}

/// Where the time of an iteration goes, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingTime {
    /// Matrix products.
    pub products: f64,
    /// Launches of kernels.
    pub launches: f64,
    /// Reads of weights.
    pub weights: f64,
}

impl TrainingTime {
    /// The time of an iteration on a GPU.
    #[must_use]
    pub fn of(work: TrainingWork, prefill: &PrefillLaw, decode: &DecodeLaw, gpu: &Silicon) -> Self {
        Self {
            products: work.flops as f64 / (PRODUCTS * prefill.dense_flops(gpu)),
            launches: work.kernels as f64 * decode.launch_seconds(gpu),
            weights: work.weight_bytes as f64 / (STREAM * gpu.bandwidth),
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.products + self.launches + self.weights
    }
}
