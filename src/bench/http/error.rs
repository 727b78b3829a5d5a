//! What can go wrong with a server.

use crate::bench::failure::{Failure, FailureKind};
use std::time::Duration;
use thiserror::Error;

/// Characters of a server's error message that are shown.
const SHOWN: usize = 300;

/// A request that failed, or a server that cannot be measured.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum HttpError {
    /// The address cannot be used.
    #[error("the server's address cannot be used: {problem}")]
    Address {
        /// Why.
        problem: String,
    },
    /// The address is not on this machine.
    #[error(
        "'{0}' is not this machine; prompts and answers would leave it. --allow-remote measures it all the same"
    )]
    Remote(String),
    /// A key would be sent unencrypted.
    #[error(
        "the API key would go to {0} unencrypted; use https or unset the variable that holds the key"
    )]
    PlainKey(String),
    /// The HTTP client could not be set up.
    #[error("cannot set up HTTP: {0}")]
    Setup(String),
    /// Nothing listens.
    #[error("no server answers at {address} ({problem}); start it, or give the right --server")]
    Connect {
        /// The address.
        address: String,
        /// What the system says.
        problem: String,
    },
    /// The server is starting.
    #[error("the server at {0} is not ready yet (HTTP 503); wait until its model is loaded")]
    NotReady(String),
    /// Nothing arrived for too long.
    #[error("nothing arrived for {} s (--stall-timeout)", .0.as_secs())]
    Silent(Duration),
    /// Signs of life arrived, but for too long neither text nor progress.
    #[error("no text arrived for {} s, only signs of life that tell of no progress (--stall-timeout)", .0.as_secs())]
    Idle(Duration),
    /// The whole request took too long.
    #[error("the answer was not complete after {} s (--timeout)", .0.as_secs())]
    Deadline(Duration),
    /// The connection ended before the answer did.
    #[error("the answer was cut off: {0}")]
    Cut(String),
    /// An HTTP error.
    #[error("the server answered {status}{}{message}", if .message.is_empty() { "" } else { ": " })]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the server said, shortened.
        message: String,
    },
    /// A redirect, which is not followed, because the time it takes would be measured too.
    #[error("the server redirects to {0}; give that address, if it is yours")]
    Redirect(String),
    /// More was sent than any answer needs.
    #[error("{what} is longer than {limit} bytes")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// An answer that does not follow the protocol.
    #[error("the server's answer does not follow the protocol: {0}")]
    Protocol(String),
    /// An error that the server reported inside its answer.
    #[error("the server reports: {0}")]
    Reported(String),
    /// The model is not served.
    #[error("{0}")]
    Model(String),
}

impl From<HttpError> for Failure {
    fn from(e: HttpError) -> Self {
        Self { kind: e.kind(), message: e.to_string() }
    }
}

impl HttpError {
    /// The error's class, as trials record it.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        match self {
            Self::Connect { .. } | Self::NotReady(_) => FailureKind::Connection,
            Self::Silent(_) | Self::Idle(_) | Self::Deadline(_) => FailureKind::Timeout,
            Self::Cut(_) => FailureKind::CutOff,
            Self::Status { status: 429, .. } => FailureKind::RateLimited,
            Self::Status { .. } => FailureKind::Status,
            Self::TooLong { .. } => FailureKind::TooLong,
            Self::Reported(_) => FailureKind::Reported,
            _ => FailureKind::Protocol,
        }
    }
}

/// The telling part of an error body: the message of an OpenAI or Ollama error object, or the beginning of the text.
pub(super) fn message(body: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let said = value.as_ref().and_then(|v| v.get("error")).and_then(reported);
    shorten(&said.unwrap_or_else(|| body.trim().to_owned()))
}

/// The text of an `error` value: a string, or an object with a `message`.
pub(super) fn reported(error: &serde_json::Value) -> Option<String> {
    let text = error.as_str().or_else(|| error.get("message")?.as_str());
    Some(text.map_or_else(|| error.to_string(), str::to_owned)).filter(|t| t != "null")
}

/// The beginning of a text, on one line and without control characters.
pub(super) fn shorten(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = clean.clone().take(SHOWN).collect();
    if clean.count() > SHOWN {
        shown.push('…');
    }
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_an_error_body_is_found() {
        assert_eq!(message(r#"{"error":{"message":"no such model","type":"x"}}"#), "no such model");
        assert_eq!(message(r#"{"error":"model 'x' not found"}"#), "model 'x' not found");
        assert_eq!(message("<html>\x1b[31mBad gateway"), "<html> [31mBad gateway");
        assert_eq!(message(""), "");
        assert_eq!(message(&"x".repeat(10_000)).chars().count(), SHOWN + 1);
    }
}
