//! What is measured: each scenario is a way of asking.

mod cold;
mod concurrency;
mod decode;
mod depth;
mod resume;
mod soak;

pub use cold::{Cold, ColdError, Launcher, cold};
pub use concurrency::{Load, Promise, concurrency};
pub use decode::{PromptWork, decode};
pub use depth::{DepthError, depth, doubling};
pub use resume::{Resume, resume};
pub use soak::{Length, MemoryGrowth, Soak, soak};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Decode rate and time to first token over kinds of prompts.
    Decode,
    /// The same at growing context.
    Depth,
    /// The first answer after a start.
    Cold,
    /// Continuing a conversation.
    Resume,
    /// Several users at once.
    Concurrency,
    /// Many turns, for leaks and thermal decline.
    Soak,
}

impl Scenario {
    /// Name on the command line and in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Depth => "depth",
            Self::Cold => "cold",
            Self::Resume => "resume",
            Self::Concurrency => "concurrency",
            Self::Soak => "soak",
        }
    }
}
