//! Where a figure came from, carried along with the figure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How far a catalog entry can be trusted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// No public source states it, or it is an inference.
    Low,
    /// One source, or a rounded or second-hand figure.
    Medium,
    /// Read in the named source, or several sources agree.
    High,
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        })
    }
}

impl FromStr for Confidence {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "low" => Ok(Self::Low),
            "medium" => Ok(Self::Medium),
            "high" => Ok(Self::High),
            _ => Err(()),
        }
    }
}

/// Where a figure came from.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Provenance {
    /// Read from this machine.
    Measured {
        /// The reading, for example `sysctl hw.memsize`.
        reading: String,
    },
    /// Taken from a catalog entry.
    Catalog {
        /// The entry and the public sources it names.
        source: String,
        /// How far to trust it.
        confidence: Confidence,
    },
    /// Given on the command line.
    UserGiven,
    /// Not known; a stand-in was chosen.
    Assumed {
        /// What was assumed, and on what ground.
        why: String,
    },
}

impl Provenance {
    /// A reading of this machine.
    #[must_use]
    pub fn measured(reading: impl Into<String>) -> Self {
        Self::Measured { reading: reading.into() }
    }

    /// A stand-in and the ground for it.
    #[must_use]
    pub fn assumed(why: impl Into<String>) -> Self {
        Self::Assumed { why: why.into() }
    }

    /// How far to trust the figure: what was read or given is certain, what was assumed is not.
    #[must_use]
    pub const fn confidence(&self) -> Confidence {
        match self {
            Self::Measured { .. } | Self::UserGiven => Confidence::High,
            Self::Catalog { confidence, .. } => *confidence,
            Self::Assumed { .. } => Confidence::Low,
        }
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured { reading } => write!(f, "read from this machine: {reading}"),
            Self::Catalog { source, confidence } => {
                write!(f, "{source} (confidence {confidence})")
            }
            Self::UserGiven => f.write_str("given by you"),
            Self::Assumed { why } => write!(f, "assumed: {why}"),
        }
    }
}

/// A value together with where it came from.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub provenance: Provenance,
}

impl<T> Sourced<T> {
    /// Pairs a value with its provenance.
    #[must_use]
    pub const fn new(value: T, provenance: Provenance) -> Self {
        Self { value, provenance }
    }
}
