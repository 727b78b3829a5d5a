//! What `predict` rests on: a stored profile of kernels, or the model's own layers, timed now.

use super::args::PredictArgs;
use crate::cli::shared::context::Context;
use crate::cli::shared::evidence::{EvidenceFile, Wanted};
use crate::cli::shared::with_mlx;
use crate::estimate::{Basis, OpenedModel, Program, Run};
use crate::hardware::machine::Machine;
use anyhow::{Result, anyhow, ensure};

/// The best basis at hand for a run.
pub(super) fn best(
    context: &Context,
    args: &PredictArgs,
    model: &OpenedModel,
    (run, machine): (&Run, Option<&Machine>),
) -> Result<Basis> {
    if let Some(path) = &args.run.evidence {
        let machine = machine
            .ok_or_else(|| anyhow!("--evidence: this machine is no Mac; name one with --mac"))?;
        let machines = Some(std::slice::from_ref(machine));
        let wanted = Wanted { context, model, machines, run };
        return Ok(Basis::Measured(EvidenceFile::read(context, path)?.runs(&wanted)?));
    }
    if args.time_layers {
        let here = args.machine.is_here() && run.engine.program == Program::MlxLm;
        ensure!(here, "--time-layers times MLX on this machine; leave --mac and --engine out");
        ensure!(run.work.batch == 1, "--time-layers times single sequences; leave --batch out");
    }
    let on = (machine, args.machine.is_here());
    let kernels = context.kernels_for(model, run, on)?.map(Box::new);
    if args.time_layers {
        let timing = layers(context, args, model, run)?;
        return Ok(Basis::Layers(Box::new(timing), kernels));
    }
    Ok(kernels.map_or(Basis::Spec, Basis::Kernels))
}

#[cfg(not(mlx))]
fn layers(
    _: &Context,
    _: &PredictArgs,
    _: &OpenedModel,
    _: &Run,
) -> Result<crate::estimate::Timing> {
    match with_mlx::needed()? {}
}

/// Times the model's own layers.
#[cfg(mlx)]
fn layers(
    context: &Context,
    args: &PredictArgs,
    model: &OpenedModel,
    run: &Run,
) -> Result<crate::estimate::Timing> {
    use crate::calibration::evidence::{self, EvidenceMetric};
    use crate::calibration::{Fidelity, widths};
    use crate::cli::shared::here::{allowed, runnable};
    use crate::engine::mlx::LayerTimer;
    use crate::estimate::{Timed, Timing};
    use std::time::Instant;

    /// Seconds per depth, and the relative error at which less time is enough.
    const LIMIT_S: f64 = 8.0;
    const TIGHT: f64 = 0.01;

    with_mlx::needed()?;
    let limit = allowed(&context.here()?, args.force)?;
    let graph = runnable(model)?;
    let mut kinds = 0;
    let mut at = |depth: u32| -> Result<Timed> {
        context.printer.hint(&format!("timing layers at {depth} tokens"));
        let start = Instant::now();
        let mut timer = LayerTimer::new(&graph, depth, run.engine.kv, limit)?;
        loop {
            timer.round(3)?;
            let Some(e) = timer.estimate() else { continue };
            let spent = start.elapsed().as_secs_f64() > LIMIT_S;
            if e.rounds >= 3 && (spent || (e.rounds >= 5 && e.log_error < TIGHT)) {
                kinds = e.layers.len();
                // The run will be later than the timing.
                let log_error = e.log_error.hypot(widths::LAYERS).hypot(widths::PACE);
                return Ok(Timed { seconds: e.seconds_per_token, log_error });
            }
        }
    };
    let decode = at(run.middle_tokens())?;
    let mut at_depth = Vec::new();
    for &depth in &args.depths {
        at_depth.push((depth, at(depth)?));
    }
    let basis = format!("{kinds} kinds of this model's layers timed here with random weights");
    let machine =
        crate::cli::shared::profiles::host(&context.here()?, crate::engine::mlx::backend());
    let quality = evidence::here(&machine, Fidelity::LayerTimed, EvidenceMetric::Decode);
    Ok(Timing { fidelity: Fidelity::LayerTimed, decode, at_depth, prompt: None, basis, quality })
}
