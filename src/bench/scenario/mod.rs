//! What is measured: each scenario is a way of asking.

mod decode;
mod depth;

pub use decode::{Work, decode};
pub use depth::{DepthError, depth, doubling};

use serde::{Deserialize, Serialize};

/// The scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Decode rate and time to first token over kinds of prompts.
    Decode,
    /// The same at growing context.
    Depth,
}

impl Scenario {
    /// Name on the command line and in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Depth => "depth",
        }
    }
}
