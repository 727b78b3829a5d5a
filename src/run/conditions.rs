//! The state of the machine during a run.

use crate::hardware::power::PowerSetting;

/// Power mode and lasting work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunConditions {
    /// The power mode; `None` where it was not said.
    pub power: Option<PowerSetting>,
    /// Minutes of work without a pause, where they were said.
    pub sustained_minutes: Option<u32>,
}
