//! How close what a prediction rests on is to the run itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How close the basis of a prediction is to the run itself.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Fidelity {
    /// Specifications and published measurements.
    Spec,
    /// Kernels timed on this machine.
    Calibrated,
    /// This model's own layers timed on this machine.
    LayerTimed,
    /// A real generation.
    Measured,
}

impl Fidelity {
    /// The word in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spec => "spec",
            Self::Calibrated => "calibrated",
            Self::LayerTimed => "layer_timed",
            Self::Measured => "measured",
        }
    }
}
