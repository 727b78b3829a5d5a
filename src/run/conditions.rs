//! The state of the machine during a run.

use crate::hardware::power::PowerMode;

/// Power mode and lasting work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The power mode; `None` where it was not said.
    pub power: Option<PowerMode>,
    /// Minutes of work without a pause, where they were said.
    pub sustained_minutes: Option<u32>,
}
