//! Speed from a model's features, a machine and fitted coefficients.
//!
//! [`StepFeatures`] hold what a model does in a step, [`Silicon`] what a machine can do, [`Coefficients`] how efficiently
//! programs use it, fitted on published measurements. Nothing here traces a model: a prediction takes about a
//! microsecond.

pub mod coefficients;
pub mod decode;
pub mod features;
pub mod fit;
pub mod interval;
pub mod kept;
pub mod law;
pub mod links;
pub mod parameters;
pub mod prefill;
mod silicon;
pub mod speculation;
pub mod training;

pub use coefficients::{Coefficients, CoefficientsError};
pub use decode::{DecodeLaw, DecodeStep, StepTime};
pub use features::StepFeatures;
pub use interval::IntervalClass;
pub use law::{LawKind, PerLaw};
pub use prefill::{PrefillLaw, PrefillTime};
pub use silicon::Silicon;

use schemars::JsonSchema;
use serde::Serialize;

/// What sets the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Bytes on the memory bus.
    Bandwidth,
    /// Arithmetic.
    Compute,
    /// Kernel launches and the program.
    Overhead,
}

impl Bound {
    /// The word used in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bandwidth => "bandwidth",
            Self::Compute => "compute",
            Self::Overhead => "overhead",
        }
    }
}
