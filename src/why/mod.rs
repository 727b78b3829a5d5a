//! Why a run is slower, or seems faster, than predicted.
//!
//! A run is predicted and laid beside what was measured. Every cause that can apply brings a factor, computed from the laws
//! with the run changed wherever they know the change, and otherwise from published reports (`data/why.toml`). Causes are
//! ranked by how likely they are given both speeds: a prior, and how well their factor explains the gap, alone or with
//! one other ([`rank`]).

mod case;
mod cause;
mod facts;
pub mod rank;
mod rules;

pub use case::{GapCase, GapError, Observed, Stated};
pub use cause::GapCause;
pub use facts::{CauseFile, CauseRow, ReleaseRow, WhyDataError};
pub use rank::{Gap, Ranked, RankedCause, Suspect};

/// The suspects of a case, ranked by what was measured.
///
/// # Errors
/// When the file of causes cannot be read, or the case cannot be predicted.
pub fn explain(case: &GapCase<'_>) -> Result<(Vec<Suspect>, Ranked), GapError> {
    let suspects = rules::suspects(case)?;
    let ranked = rank::rank(&suspects, case.gaps());
    Ok((suspects, ranked))
}
