//! How a command ended, as its exit code says it.

/// What a command decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Done, and what was asked fits or passes.
    Ok = 0,
    /// It does not fit, or a check failed.
    No = 1,
    /// The interval straddles the limit.
    Uncertain = 3,
    /// A signal ended it early; the answer holds what there was.
    Interrupted = 130,
}

/// Exit code of usage, input and environment errors.
pub(in crate::cli) const ERROR: u8 = 2;
