//! The state of the machine before and during a run.

use crate::hardware::power::PowerSetting;

/// Power mode, lasting work and the pause before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunConditions {
    /// The power mode; `None` where it was not said.
    pub power: Option<PowerSetting>,
    /// Minutes of work without a pause, where they were said.
    pub sustained_minutes: Option<u32>,
    /// Seconds without GPU work before the prompt, where they were said; else runs follow one another.
    pub idle_s: Option<u32>,
}
