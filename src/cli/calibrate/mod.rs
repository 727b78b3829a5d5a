//! `mlxplan calibrate`: times kernels, and shows stored profiles.

pub(super) mod answer;
mod time;

use super::args::CalibrateArgs;
use super::{Context, Verdict};
use crate::calibration::profile::{self, Profile};
use crate::report::Answer;
use answer::{ProfileComparison, Profiles};
use anyhow::{Result, anyhow};

pub(super) fn run(context: &Context, args: &CalibrateArgs) -> Result<(Answer, Verdict)> {
    if args.list {
        let folder = profile::folder().ok_or_else(|| anyhow!("no home folder with profiles"))?;
        return Ok((Answer::of(Profiles::of(&folder)), Verdict::Ok));
    }
    if let Some([a, b]) = args.compare.as_deref() {
        let profiles = [Profile::read(a)?, Profile::read(b)?];
        return Ok((Answer::of(ProfileComparison::of([a, b], &profiles)), Verdict::Ok));
    }
    time::time(context, args)
}
