//! Timing the kernels of this machine.

use super::args::CalibrateArgs;
#[cfg(mlx)]
use crate::calibration::profile::{self, Profile};
use crate::cli::shared::context::Context;
use crate::cli::shared::exit::ExitStatus;
use crate::cli::shared::with_mlx;
use crate::report::Answer;
use anyhow::Result;

#[cfg(not(mlx))]
pub(super) fn time(_: &Context, _: &CalibrateArgs) -> Result<(Answer, ExitStatus)> {
    match with_mlx::needed()? {}
}

#[cfg(mlx)]
pub(super) fn time(context: &Context, args: &CalibrateArgs) -> Result<(Answer, ExitStatus)> {
    use super::answer::ProfileAnswer;
    use crate::cli::shared::{here, output, profiles, signals};
    use crate::engine::mlx::{TimingProgress, backend, calibrate, version};
    use crate::model::{DType, Packing};
    use std::ops::ControlFlow;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    with_mlx::needed()?;
    let probe = context.here()?;
    let conditions = here::conditions(&probe);
    for warning in &conditions.warnings {
        context.printer.hint(warning);
    }
    // Two group sizes per number of bits tell what a weight and what a group costs.
    let bits: &[u32] = if args.quick { &[4, 8] } else { &[2, 3, 4, 5, 6, 8] };
    let mut packings: Vec<Packing> =
        bits.iter().flat_map(|&b| [Packing::affine(b, 64), Packing::affine(b, 32)]).collect();
    if !args.quick {
        packings.extend([Packing::MXFP4, Packing::NVFP4, Packing::MXFP8]);
    }
    let limit = Duration::from_secs(if args.quick { 18 } else { 55 });
    let quiet = context.printer.quiet;
    let stop = signals::stop(quiet)?;
    let said = std::cell::Cell::new(0.0);
    let progress = |p: TimingProgress| {
        // Not more often than every two seconds.
        if !quiet && (p.elapsed_s > said.get() + 2.0 || p.tight == p.kernels) {
            said.set(p.elapsed_s);
            output::say(&format!(
                "pass {}: {} of {} kernels known to 1 %, {:.0} s",
                p.passes, p.tight, p.kernels, p.elapsed_s
            ));
        }
        if stop.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let start = std::time::Instant::now();
    let dtype = if backend() == "metal" { DType::BF16 } else { DType::F32 };
    let (classes, stopping) = calibrate(&packings, dtype, limit, &progress)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let profile = Profile {
        version: profile::VERSION,
        created_unix_s: now.as_secs(),
        duration_s: start.elapsed().as_secs_f64(),
        quick: args.quick,
        mlx: version(),
        machine: profiles::host(&probe, backend()),
        conditions,
        stopping,
        classes,
    };
    let folder = match &args.to {
        Some(folder) => folder.clone(),
        None => profile::folder()
            .ok_or_else(|| anyhow::anyhow!("no home folder to store it in; use --to"))?,
    };
    let path = profile.store(&folder)?;
    if let Some(shared) = &args.export {
        profile.redacted().write(shared)?;
    }
    // What was timed until then is a profile as good as its passes.
    let verdict = if stop.requested() { ExitStatus::Interrupted } else { ExitStatus::Ok };
    Ok((Answer::of(ProfileAnswer { profile, path }), verdict))
}
