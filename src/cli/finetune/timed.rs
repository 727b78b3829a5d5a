//! The step of a run, timed on this machine with random weights.

use crate::cli::shared::context::Context;
use crate::cli::shared::with_mlx;
use crate::estimate::{OpenedModel, Timed};
use crate::graph::training::FineTuning;
use crate::units::Seconds;
use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

/// A step that was timed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub(super) struct TimedStep {
    /// Seconds of an iteration of the longest batch.
    seconds_per_iteration: f64,
    /// Where the time of a later run will be nine times out of ten.
    interval_90: [f64; 2],
    /// Iterations that were timed.
    iterations: u32,
    /// MLX's backend: `metal` or `cpu`.
    backend: &'static str,
    /// Whether activations were in float32, which MLX's CPU backend runs best.
    in_float32: bool,
    #[serde(skip)]
    pub timed: Timed,
}

impl TimedStep {
    /// The time in words.
    pub fn text(&self) -> String {
        let [low, high] = self.interval_90.map(Seconds);
        let kind = if self.in_float32 { ", activations in float32" } else { "" };
        format!(
            "{} an iteration, 90 % {low}–{high}: the step itself with random weights, {} times on MLX's {} backend{kind}",
            Seconds(self.seconds_per_iteration),
            self.iterations,
            self.backend
        )
    }
}

#[cfg(not(mlx))]
pub(super) fn step(_: &Context, _: &OpenedModel, _: &FineTuning, _: bool) -> Result<TimedStep> {
    match with_mlx::needed()? {}
}

/// Times the step, after a first update that makes the optimizer's state and a second one that compiles.
#[cfg(mlx)]
pub(super) fn step(
    context: &Context,
    model: &OpenedModel,
    run: &FineTuning,
    force: bool,
) -> Result<TimedStep> {
    use crate::calibration::widths;
    use crate::cli::shared::here::{allowed, runnable};
    use crate::engine::mlx::{LoadedWeights, TrainingProcess, backend};
    use crate::estimate::training::highest_peak;
    use crate::ledger::replay::Gpu;
    use crate::stats::{Z90, spread_of};
    use std::time::Instant;

    /// Seconds after which no further step is begun, and steps that are timed at the least.
    const LIMIT_S: f64 = 20.0;
    const LEAST: usize = 3;
    /// Steps that are not timed.
    const WARM: u32 = 2;

    with_mlx::needed()?;
    let limit = allowed(&context.here()?, force)?;
    let graph = runnable(model)?;
    let needed = highest_peak(&graph, run, Gpu::REFERENCE)?.peak_bytes;
    if needed > limit {
        return Err(crate::engine::mlx::EngineError::Memory { needed, limit }.into());
    }
    context.printer.hint("timing the step");
    let weights = LoadedWeights::random(graph.params(), 1)?;
    let mut process = TrainingProcess::new(&graph, weights, run, 1e-5)?;
    let of_update = run.accumulation.max(1);
    for _ in 0..WARM * of_update {
        process.time()?;
    }
    let start = Instant::now();
    let mut seconds = Vec::new();
    while seconds.len() < LEAST || start.elapsed().as_secs_f64() < LIMIT_S {
        seconds.push(process.time()?);
        if seconds.len() >= 100 {
            break;
        }
    }
    let Some(spread) = spread_of(&seconds) else { anyhow::bail!("no step was timed") };
    let log_error = (spread.median_error / spread.median).hypot(widths::PACE);
    let ends = [-Z90, Z90].map(|z| spread.median * (z * log_error).exp());
    Ok(TimedStep {
        seconds_per_iteration: spread.median,
        interval_90: ends,
        iterations: u32::try_from(seconds.len()).unwrap_or(u32::MAX),
        backend: backend(),
        in_float32: graph.dtype() != model.graph.dtype(),
        timed: Timed { seconds: spread.median, log_error },
    })
}
