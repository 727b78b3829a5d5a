//! Judging claimed measurements against physics, the model's exact sizes and sound method.
//!
//! A [`Claim`] is what somebody says: a model on a machine, and figures. It comes from a claims file
//! ([`claim::parse`]), from a result of `mlxplan bench` ([`results::claims`]) or from a row of a measurement file
//! ([`rows::claim`]). [`judge`] applies every [`AuditRule`] for which the claim says enough, and lists those that could not
//! be applied, with the reason: silence never means that something was checked.

pub mod claim;
mod facts;
mod finding;
mod range;
pub mod results;
pub mod rows;
mod rules;
mod training_claim;

pub use claim::{Claim, ClaimError};
pub use facts::{Facts, Hardware, Known, fastest_decode};
pub use finding::{AuditRule, ExplainedFigure, Finding, JudgedClaims, Severity, Skipped};
pub use training_claim::TrainingClaim;

use std::collections::HashMap;

/// A claim with what is known about its model and machine.
#[derive(Debug)]
pub struct AuditCase {
    /// What is claimed.
    pub claim: Claim,
    /// What is known.
    pub facts: Facts,
}

/// Judges claims, each by itself and next to the others of its group.
#[must_use]
pub fn judge(cases: &[AuditCase]) -> JudgedClaims {
    let mut judged = JudgedClaims::default();
    for case in cases {
        rules::speed::check(case, &mut judged);
        rules::memory::check(case, &mut judged);
        rules::method::check(case, &mut judged);
        rules::training::check(case, &mut judged);
    }
    rules::group::check(cases, &mut judged);
    let positions: HashMap<&str, usize> =
        cases.iter().enumerate().rev().map(|(i, c)| (c.claim.id.as_str(), i)).collect();
    judged.findings.sort_by_key(|f| (f.severity, positions.get(f.claim.as_str()).copied(), f.rule));
    judged
}
