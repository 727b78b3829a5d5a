//! What a server adds to every token beside the step of the model.

use super::{Engines, KnownBy, Release};
use crate::hardware::provenance::Confidence;
use crate::run::{Program, ServerTime, Version};
use serde::Deserialize;

/// The time that a server adds to every token of a single stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTimeRow {
    /// The program.
    pub engine: String,
    /// First version that it holds for.
    pub from: Option<Release>,
    /// Milliseconds a token.
    pub token_ms: f64,
    /// Milliseconds a token for every thousand tokens in the cache.
    pub token_ms_per_1000: f64,
    /// Lowest and highest factor on both.
    pub band: [f64; 2],
    /// What it rests on.
    pub evidence: String,
    /// Where this comes from.
    pub source: String,
    /// How it is known.
    pub basis: KnownBy,
    /// How far to trust it.
    pub confidence: Confidence,
}

impl Engines {
    /// What a server adds to every token; `None` where nothing is published of the program, or of so old a version.
    #[must_use]
    pub fn server_time(&self, program: Program, version: Option<Version>) -> Option<ServerTime> {
        let holds = |row: &&ServerTimeRow| {
            let since = version.zip(row.from).is_none_or(|(version, from)| from.0 <= version);
            row.engine == program.name() && since
        };
        self.server_time.iter().rev().find(holds).map(|row| ServerTime {
            token_s: 1e-3 * row.token_ms,
            cached_token_s: 1e-6 * row.token_ms_per_1000,
            band: row.band,
        })
    }
}
