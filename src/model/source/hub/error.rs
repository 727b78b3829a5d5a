//! What can go wrong between here and the hub.

use thiserror::Error;

/// A problem with a remote repository. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HubError {
    /// The user asked not to use the network.
    #[error(
        "hf:{0} needs the network, but this is an offline run; leave out --offline, or name a local folder"
    )]
    Offline(String),
    /// Not a possible repository.
    #[error(
        "'{name}' is no repository of the hub: {problem}; write hf:org/name or hf:org/name@revision"
    )]
    BadName {
        /// What was given, shortened.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// `HF_ENDPOINT` is no address.
    #[error("HF_ENDPOINT is '{0}'; it must be an address such as https://huggingface.co")]
    BadEndpoint(String),
    /// The HTTP client cannot be set up.
    #[error("cannot set up HTTP: {0}")]
    Setup(String),
    /// The host's name is unknown.
    #[error(
        "cannot find the host {0}; check the network connection, or use --offline with a local model"
    )]
    Dns(String),
    /// No connection, or it broke.
    #[error("no connection to {host}: {problem}")]
    Connection {
        /// The host.
        host: String,
        /// What the system says.
        problem: String,
    },
    /// The server is too slow.
    #[error("{host} did not answer in time while {what} was read; try again later")]
    Timeout {
        /// The host.
        host: String,
        /// File that was read.
        what: String,
    },
    /// Redirects do not end or lead somewhere unsafe.
    #[error("{host} redirects {what} wrongly: {problem}")]
    Redirect {
        /// The host.
        host: String,
        /// File that was read.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// Access needs a license to be accepted.
    #[error(
        "{0} is gated: accept its license on its web page, then put an access token into HF_TOKEN (or run `hf auth login`)"
    )]
    Gated(String),
    /// Private, or not there; the hub does not tell which.
    #[error(
        "{repo} does not exist or is private; check the spelling{}",
        if *token { ", or whether the access token may read it" } else { ", or put an access token into HF_TOKEN" }
    )]
    NoAccess {
        /// The repository.
        repo: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The file is not there.
    #[error("{repo} at {revision} has no {file}{hint}")]
    NoFile {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
        /// The file.
        file: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The revision is not there.
    #[error("{repo} has no revision '{revision}'")]
    NoRevision {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
    },
    /// Too many requests.
    #[error(
        "{0} limits the number of requests; wait a few minutes, or put an access token into HF_TOKEN"
    )]
    RateLimited(String),
    /// The server is in trouble, or answers with something unexpected.
    #[error("{host} answers {status} to {what}; try again later")]
    Status {
        /// The host.
        host: String,
        /// HTTP status.
        status: u16,
        /// File that was read.
        what: String,
    },
    /// A file is larger than any real one.
    #[error("{what} is longer than {limit} bytes; it is not read")]
    TooLong {
        /// The file.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// The server's answer contradicts itself or the request.
    #[error("{host} gives a wrong answer for {what}: {problem}")]
    BadAnswer {
        /// The host.
        host: String,
        /// File that was read.
        what: String,
        /// What is wrong.
        problem: String,
    },
}

impl HubError {
    /// Whether the hub could not be reached or was not able to answer, so that another time may be better.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        match self {
            Self::Dns(_)
            | Self::Connection { .. }
            | Self::Timeout { .. }
            | Self::RateLimited(_) => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }
}
