//! Why a request failed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a trial failed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No connection.
    Connection,
    /// Nothing, or not everything, arrived in time.
    Timeout,
    /// The answer ended early.
    CutOff,
    /// HTTP 429.
    RateLimited,
    /// Another HTTP error.
    Status,
    /// The server reported an error within its answer.
    Reported,
    /// The answer does not follow the protocol.
    Protocol,
    /// The answer exceeds a limit.
    TooLong,
    /// The engine in this process, or a program that was started, failed.
    Engine,
}

impl FailureKind {
    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connection => "no connection",
            Self::Timeout => "timeout",
            Self::CutOff => "cut off",
            Self::RateLimited => "rate limited",
            Self::Status => "HTTP error",
            Self::Reported => "reported error",
            Self::Protocol => "wrong answer",
            Self::TooLong => "too long",
            Self::Engine => "engine failed",
        }
    }
}

/// A failure with its text.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Failure {
    /// Class of the failure.
    pub kind: FailureKind,
    /// What happened.
    pub message: String,
}
