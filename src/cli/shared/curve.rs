//! What changes with the context: where curves over it have points, and the parts of memory there.

use crate::estimate::Estimator;
use crate::hardware::machine::Machine;
use crate::ledger::peak::PeakError;

/// Points of a curve.
const POINTS: u32 = 13;

/// Contexts from 256 tokens to what the model was made for, evenly on the logarithm.
pub(in crate::cli) fn contexts(made_for: Option<u64>) -> Vec<u32> {
    let longest = made_for.unwrap_or(131_072).clamp(512, 1 << 20) as f64;
    let step = (longest / 256.0).powf(1.0 / f64::from(POINTS - 1));
    (0..POINTS).map(|i| (256.0 * step.powi(i as i32)).round() as u32).collect()
}

/// The parts of memory at one prompt length, each on top of the one before, in GB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli) struct MemoryStack {
    /// Tokens of the prompt.
    pub tokens: f64,
    /// Weights.
    pub weights: f64,
    /// Weights, caches and states.
    pub cached: f64,
    /// Everything at the peak.
    pub peak: f64,
}

/// The parts of memory with a prompt of so many tokens.
///
/// # Errors
/// When mlx-lm could not run the model.
pub(in crate::cli) fn stack(
    estimator: &Estimator<'_>,
    machine: &Machine,
    context_tokens: u32,
) -> Result<MemoryStack, PeakError> {
    let run = estimator.run().with_context(context_tokens);
    let p = estimator.with_run(run).memory(machine)?.peak;
    let gb = |bytes: u64| bytes as f64 / 1e9;
    let cached = gb(p.weights_bytes + p.kv_bytes + p.state_bytes);
    Ok(MemoryStack {
        tokens: f64::from(context_tokens),
        weights: gb(p.weights_bytes),
        cached: cached.min(gb(p.peak_bytes)),
        peak: gb(p.peak_bytes),
    })
}
