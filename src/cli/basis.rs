//! What `predict` rests on: a stored profile of kernels, or the model's own layers, timed now.

use super::Context;
use super::args::PredictArgs;
use crate::calibration::profile::{self, Host, Profile};
use crate::estimate::{Basis, Kernels, OpenedModel, Program, Run};
use crate::hardware::probe::{Probe, probe};
use anyhow::{Result, ensure};

/// This machine as profiles name it.
pub(super) fn host(probe: &Probe, backend: &str) -> Host {
    Host {
        system: std::env::consts::OS.to_owned(),
        chip: probe.brand.clone().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        gpu_cores: probe.gpu_cores,
        cpu_cores: probe.cpu_cores,
        memory_bytes: probe.memory_bytes.map(|b| b.0),
        backend: backend.to_owned(),
    }
}

impl Context {
    /// The probe of this machine.
    pub(super) fn here(&self) -> Result<Probe> {
        Ok(probe(&self.catalogue)?)
    }

    /// The profile of `--profile`, or the newest one of this machine.
    pub(super) fn profile(&self, probe: &Probe) -> Result<Option<Profile>> {
        if let Some(path) = &self.global.profile {
            return Ok(Some(Profile::read(path)?));
        }
        let Some(folder) = profile::folder() else { return Ok(None) };
        let (stored, _) = profile::list(&folder);
        let fits = |p: &Profile| p.machine == host(probe, &p.machine.backend);
        Ok(stored.into_iter().map(|(_, p)| p).find(fits))
    }

    /// The kernel times to predict with on this machine, or `elsewhere` (with `--profile` alone).
    fn kernels(&self, elsewhere: bool) -> Result<Option<Kernels>> {
        if elsewhere && self.global.profile.is_none() {
            return Ok(None);
        }
        let probe = self.here()?;
        let Some(profile) = self.profile(&probe)? else { return Ok(None) };
        let here = !elsewhere && profile.machine == host(&probe, &profile.machine.backend);
        Ok(Some(match here {
            true => Kernels::here(profile),
            false => Kernels::elsewhere(profile, &self.catalogue),
        }))
    }

    /// The best basis at hand for a run.
    pub(super) fn basis(
        &self,
        args: &PredictArgs,
        model: &OpenedModel,
        run: &Run,
    ) -> Result<Basis> {
        let mlx = run.engine.program == Program::MlxLm && model.source.gguf.is_none();
        let single = run.work.batch == 1;
        if args.time_layers {
            let here = args.machine.is_here() && run.engine.program == Program::MlxLm;
            ensure!(here, "--time-layers times MLX on this machine; leave --mac and --engine out");
            ensure!(single, "--time-layers times single sequences; leave --batch out");
        }
        let kernels = if mlx && single { self.kernels(!args.machine.is_here())? } else { None };
        let kernels = kernels.map(Box::new);
        if args.time_layers {
            let timing = layers(self, args, model, run)?;
            return Ok(Basis::Layers(Box::new(timing), kernels));
        }
        Ok(kernels.map_or(Basis::Spec, Basis::Kernels))
    }
}

#[cfg(not(mlx))]
fn layers(
    _: &Context,
    _: &PredictArgs,
    _: &OpenedModel,
    _: &Run,
) -> Result<crate::estimate::Timing> {
    anyhow::bail!("{}", super::NO_MLX)
}

/// Times the model's own layers.
#[cfg(mlx)]
fn layers(
    context: &Context,
    args: &PredictArgs,
    model: &OpenedModel,
    run: &Run,
) -> Result<crate::estimate::Timing> {
    use super::local::{allowed, runnable};
    use crate::calibration::evidence::{self, Metric};
    use crate::calibration::{Fidelity, widths};
    use crate::engine::mlx::LayerTimer;
    use crate::estimate::{Timed, Timing};
    use std::time::Instant;

    /// Seconds per depth, and the relative error at which less time is enough.
    const LIMIT_S: f64 = 8.0;
    const TIGHT: f64 = 0.01;

    let limit = allowed(&context.here()?, args.force)?;
    let graph = runnable(model)?;
    let mut kinds = 0;
    let mut at = |depth: u32| -> Result<Timed> {
        context.hint(&format!("timing layers at {depth} tokens"));
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
    let machine = host(&context.here()?, crate::engine::mlx::backend());
    let quality = evidence::here(&machine, Fidelity::LayerTimed, Metric::Decode);
    Ok(Timing { fidelity: Fidelity::LayerTimed, decode, at_depth, prompt: None, basis, quality })
}
