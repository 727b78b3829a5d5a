//! The rules: which causes can apply to a case, and what factor each would bring.

mod count;
mod engine;
mod memory;
mod model;
mod state;
mod work;

use super::facts::{CauseFile, CauseRow};
use super::rank::Suspect;
use super::{GapCase, GapCause, GapError};

/// Most factor that matters: what a cause that can make no difference brings.
pub(super) const NONE: [f64; 2] = [1.0, 1.0];

/// Everything that can apply.
pub(super) fn suspects(case: &GapCase<'_>) -> Result<Vec<Suspect>, GapError> {
    let mut found = Found { case, file: CauseFile::embedded()?, all: Vec::new() };
    engine::find(&mut found)?;
    memory::find(&mut found)?;
    state::find(&mut found)?;
    work::find(&mut found)?;
    model::find(&mut found)?;
    count::find(&mut found)?;
    Ok(found.all)
}

/// What was found so far.
pub(super) struct Found<'a, 'c> {
    pub case: &'a GapCase<'c>,
    pub file: &'static CauseFile,
    all: Vec<Suspect>,
}

/// Factors of a cause.
pub(super) struct Brings {
    /// On tokens per second.
    pub decode: [f64; 2],
    /// On the speed to the first token.
    pub first: [f64; 2],
    /// Whether they come from the laws.
    pub computed: bool,
}

impl Brings {
    /// The factors of a row.
    pub fn of(row: &CauseRow) -> Self {
        let part = |range: Option<[f64; 2]>| range.unwrap_or(NONE);
        Self { decode: part(row.decode), first: part(row.prefill), computed: false }
    }

    /// Factors by the laws.
    pub const fn computed(decode: [f64; 2], first: [f64; 2]) -> Self {
        Self { decode, first, computed: true }
    }
}

impl Found<'_, '_> {
    /// The row of a cause.
    pub fn row(
        &self,
        cause: GapCause,
        variant: Option<&str>,
    ) -> Result<&'static CauseRow, GapError> {
        Ok(self.file.row(cause, variant)?)
    }

    /// Adds a suspect, with the prior of its row times a factor.
    pub fn add(&mut self, row: &CauseRow, times: f64, brings: Brings, test: String) {
        let Brings { decode, first, computed } = brings;
        let prior = (row.prior * times).min(0.9);
        if prior <= 0.0 || (decode == NONE && first == NONE) {
            return;
        }
        self.all.push(Suspect {
            cause: row.name,
            prior,
            decode,
            first,
            computed,
            included: false,
            evidence: row.evidence.clone(),
            sources: row.sources.clone(),
            test,
        });
    }

    /// Adds a suspect that no row describes.
    pub fn push(&mut self, suspect: Suspect) {
        self.all.push(suspect);
    }

    /// A command of mlxplan that measures the running server.
    pub fn bench(&self, rest: &str) -> String {
        let rest = if rest.is_empty() { String::new() } else { format!(" {rest}") };
        format!("mlxplan bench --server URL{rest}")
    }

    /// `mlxplan predict` of this run with something changed.
    pub fn predict(&self, rest: &str) -> String {
        format!("mlxplan predict {} {rest}", self.case.named)
    }
}

/// A range around a computed factor.
pub(super) fn around(factor: f64, spread: f64) -> [f64; 2] {
    [factor / spread, factor * spread]
}

/// The range of two factors.
pub(super) fn between(a: f64, b: f64) -> [f64; 2] {
    [a.min(b), a.max(b)]
}
