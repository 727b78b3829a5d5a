//! `data/why.toml`: how often causes are found, what factors were published for them, and where. Read strictly.

use super::GapCause;
use crate::run::Version;
use serde::Deserialize;
use std::sync::LazyLock;
use thiserror::Error;

const EMBEDDED: &str = include_str!("../../data/why.toml");

/// A file of causes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("data/why.toml: {0}")]
pub struct WhyDataError(String);

/// Everything that is known of causes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CauseFile {
    /// Version of the format of the file.
    pub schema: u32,
    /// Day of the knowledge, ISO.
    pub as_of: String,
    /// What the priors are.
    pub prior_source: String,
    /// The causes.
    pub cause: Vec<CauseRow>,
    /// Releases with a slow-down of their own.
    pub release: Vec<ReleaseRow>,
}

/// What is known of a cause.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CauseRow {
    /// The cause.
    pub name: GapCause,
    /// Which of several rows of a cause.
    pub variant: Option<String>,
    /// Probability that it is there where it can be.
    pub prior: f64,
    /// Factor on tokens per second, lowest and highest, where it is not computed.
    pub decode: Option<[f64; 2]>,
    /// Factor on the speed to the first token, likewise.
    pub prefill: Option<[f64; 2]>,
    /// What was found, with figures.
    pub evidence: String,
    /// Where.
    pub sources: Vec<String>,
}

/// A release with a slow-down of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRow {
    /// The program; `mlx` for all that run on it.
    pub program: String,
    /// First release.
    #[serde(deserialize_with = "version")]
    pub from: Version,
    /// First release without it, or after the last that was tried.
    #[serde(deserialize_with = "version")]
    pub below: Version,
    /// Least macOS.
    #[serde(default, deserialize_with = "some_version")]
    pub macos_from: Option<Version>,
    /// Least bytes of weights, 10^9.
    #[serde(default)]
    pub min_weights_gb: f64,
    /// Least tokens in the cache.
    #[serde(default)]
    pub min_tokens: u32,
    /// Whether it needs a chip with matrix units.
    #[serde(default)]
    pub matrix_units: bool,
    /// What it amounts to.
    pub cause: GapCause,
    /// Factor on tokens per second, lowest and highest.
    pub decode: Option<[f64; 2]>,
    /// Factor on the speed to the first token.
    pub prefill: Option<[f64; 2]>,
    /// Seconds added to the first token.
    pub first_token_s: Option<[f64; 2]>,
    /// What was found, with figures.
    pub evidence: String,
    /// Where.
    pub sources: Vec<String>,
    /// The release that repairs it, where there is one.
    pub fix: Option<String>,
}

fn version<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Version, D::Error> {
    String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
}

fn some_version<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Version>, D::Error> {
    version(d).map(Some)
}

impl CauseFile {
    /// The embedded file.
    ///
    /// # Errors
    /// Never, as a test shows.
    pub fn embedded() -> Result<&'static Self, WhyDataError> {
        static READ: LazyLock<Result<CauseFile, WhyDataError>> =
            LazyLock::new(|| toml::from_str(EMBEDDED).map_err(|e| WhyDataError(e.to_string())));
        READ.as_ref().map_err(Clone::clone)
    }

    /// The row of a cause, or of one of its variants.
    ///
    /// # Errors
    /// When there is none, which a test rules out.
    pub fn row(&self, name: GapCause, variant: Option<&str>) -> Result<&CauseRow, WhyDataError> {
        let is = |r: &&CauseRow| r.name == name && r.variant.as_deref() == variant;
        let missing = || WhyDataError(format!("no cause {name:?} {variant:?}"));
        self.cause.iter().find(is).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_range_in_order_a_prior_and_a_source() {
        let file = CauseFile::embedded().expect("readable");
        for row in &file.cause {
            let name = format!("{:?} {:?}", row.name, row.variant);
            assert!(row.prior > 0.0 && row.prior < 0.6, "{name}");
            assert!(!row.sources.is_empty() && !row.evidence.is_empty(), "{name}");
            for [low, high] in row.decode.iter().chain(&row.prefill) {
                assert!(*low > 0.0 && low <= high, "{name}");
            }
            let same =
                file.cause.iter().filter(|r| (r.name, &r.variant) == (row.name, &row.variant));
            assert_eq!(same.count(), 1, "{name}");
        }
        for row in &file.release {
            assert!(row.from < row.below && !row.sources.is_empty(), "{row:?}");
            let factor =
                row.decode.is_some() || row.prefill.is_some() || row.first_token_s.is_some();
            assert!(factor, "{row:?}");
            assert!(
                row.program == "mlx" || row.program.parse::<crate::Program>().is_ok(),
                "{row:?}"
            );
        }
    }
}
