//! The state of the machine: power mode, heat, pauses, the first request.

use super::{Brings, NONE, SuspectList};
use crate::hardware::power::{Form, PowerFile, PowerSetting};
use crate::run::{Program, Version};
use crate::why::{GapCause, GapError};

/// The macOS with the new Automatic mode.
const AUTOMATIC: Version = Version::new(27, 0, 0);
/// The build of llama.cpp that keeps weights resident.
const KEEPS: Version = Version::new(4561, 0, 0);
/// Bytes per second at which weights become resident again, and at which they are read from the SSD.
const RESIDENT: [f64; 2] = [30e9, 150e9];
const UNKEPT: [f64; 2] = [25e9, 60e9];
const SSD: [f64; 2] = [1e9, 7e9];
/// Seconds that a start takes besides: kernels are compiled.
const START_S: [f64; 2] = [0.1, 5.0];

pub(super) fn find(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    power(found)?;
    heat(found)?;
    idle(found)?;
    cold(found)
}

/// Prior of a mode that the user named.
const SAID: f64 = 0.8;
const POWER_TEST: &str =
    "pmset -g | grep -E 'lowpowermode|powermode'  # 0 automatic, 1 low, 2 high";

fn power(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (form, run) = (found.case.form, found.case.run());
    let (said, macos) = (run.conditions.power, run.engine.macos);
    let low = found.row(GapCause::PowerMode, Some("low"))?;
    let times = match (said, form) {
        (Some(PowerSetting::Low), _) => SAID / low.prior,
        (Some(_), _) => 0.0,
        (None, Form::Desktop) => 0.1,
        (None, Form::Unknown) => 0.8,
        (None, _) => 1.0,
    };
    found.add(low, times, Brings::of(low), POWER_TEST.to_owned());
    let automatic = found.row(GapCause::PowerMode, Some("automatic"))?;
    let times = match (macos, form.may_be_laptop()) {
        _ if matches!(said, Some(PowerSetting::Low | PowerSetting::High)) => 0.0,
        (Some(v), _) if v < AUTOMATIC => 0.0,
        (Some(_), true) => 6.0,
        (None, true) => 0.5,
        (_, false) => 0.3,
    };
    found.add(automatic, times, Brings::of(automatic), POWER_TEST.to_owned());
    Ok(())
}

fn heat(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let form = found.case.form;
    if found.case.run().conditions.sustained_minutes == Some(0) {
        return Ok(());
    }
    let file = PowerFile::embedded()?;
    let ranges = file.heat(form, PowerSetting::Automatic).into_iter().map(|r| r.after_ten_minutes);
    let [low, high] =
        ranges.fold([1.0, 0.0], |[low, high], [l, _, h]| [f64::min(low, l), f64::max(high, h)]);
    let row = found.row(GapCause::Thermal, None)?;
    let times = match form {
        Form::Desktop => 0.2,
        Form::Unknown => 0.8,
        Form::Air => 2.0,
        _ => 1.0,
    };
    // The fitted slow-down of Macs without a fan is in the prediction.
    let brings = Brings { decode: [low, high], first: [low, high], computed: false };
    let test = found.bench("--scenario soak --minutes 10");
    found.add(row, times, brings, test);
    Ok(())
}

fn idle(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (case, engine) = (found.case, found.case.run().engine);
    let bytes = case.features.weight_bytes;
    let later = |[slow, fast]: [f64; 2]| case.later_token([bytes / fast, bytes / slow]);
    let unkept = case.stated.version && engine.version.is_some_and(|v| v.is_build() && v < KEEPS);
    let (variant, rate) = match engine.program {
        Program::LlamaCpp if unkept => ("llama_unkept", UNKEPT),
        p if p.runs_gguf() => return Ok(()),
        _ => ("mlx", RESIDENT),
    };
    let row = found.row(GapCause::Idle, Some(variant))?;
    let test = found.bench("--cool-down 0  # against --cool-down 15");
    found.add(row, 1.0, Brings::computed(NONE, later(rate)), test);
    Ok(())
}

fn cold(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let case = found.case;
    let bytes = case.features.weight_bytes;
    let seconds = [bytes / SSD[1] + START_S[0], bytes / SSD[0] + START_S[1]];
    let row = found.row(GapCause::ColdStart, None)?;
    let brings = Brings::computed(NONE, case.later_token(seconds));
    let test = found.bench("--scenario cold");
    found.add(row, 1.0, brings, test);
    Ok(())
}
