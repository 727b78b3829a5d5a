//! `mlxplan calibrate`: times kernels, and shows stored profiles.

pub(super) mod answer;
pub(super) mod args;
mod time;

use super::shared::context::Context;
use super::shared::exit::ExitStatus;
use crate::calibration::profile::{self, Profile};
use crate::report::Answer;
use answer::{ProfileAnswer, ProfileComparison, Profiles};
use anyhow::{Result, anyhow};
use args::CalibrateArgs;

pub(super) fn run(context: &Context, args: &CalibrateArgs) -> Result<(Answer, ExitStatus)> {
    if args.list {
        let folder = profile::folder()
            .ok_or_else(|| anyhow!("there is no home folder with profiles: set HOME"))?;
        return Ok((Answer::of(Profiles::of(&folder)), ExitStatus::Ok));
    }
    if let Some([a, b]) = args.compare.as_deref() {
        let profiles = [Profile::read(a)?, Profile::read(b)?];
        return Ok((Answer::of(ProfileComparison::of([a, b], &profiles)), ExitStatus::Ok));
    }
    if let (Some(path), Some(stored)) = (&args.export, &context.profile) {
        let profile = Profile::read(stored)?.redacted();
        profile.write(path)?;
        return Ok((Answer::of(ProfileAnswer { profile, path: path.clone() }), ExitStatus::Ok));
    }
    time::time(context, args)
}
