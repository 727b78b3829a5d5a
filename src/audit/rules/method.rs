//! What the method can show.

use crate::audit::claim::ClaimedWork;
use crate::audit::{AuditCase, AuditRule, JudgedClaims, Severity};
use crate::stats::MIN_POINTS;

pub(in crate::audit) fn check(case: &AuditCase, out: &mut JudgedClaims) {
    let claim = &case.claim;
    if let Some(leak) = claim.leak_mb_per_turn {
        match claim.turns {
            Some(turns) if turns as usize >= MIN_POINTS => {
                out.pass(&claim.id, AuditRule::LeakTooFewTurns)
            }
            turns => {
                let over = turns.map_or("an unknown number of".to_owned(), |n| n.to_string());
                let numbers = format!("{leak:+} MB a turn from {over} turns");
                let cause = format!(
                    "single reallocations and collections decide the slope of so few points; at least {MIN_POINTS} \
                     turns after settling, 500 by default (mlxplan bench --scenario soak), give an interval"
                );
                out.find(
                    &claim.id,
                    AuditRule::LeakTooFewTurns,
                    Severity::Misleading,
                    numbers,
                    cause,
                );
            }
        }
        if leak < 0.0 {
            let numbers = format!("{leak:+} MB a turn");
            let cause = "memory that was given back, or still settling when sampling began; a process cannot leak a \
                         negative amount";
            out.find(&claim.id, AuditRule::NegativeLeak, Severity::Misleading, numbers, cause);
        }
    }
    if claim.outliers_removed {
        let cause =
            "stalls are what users feel; show them, and use a median, which they do not move";
        let numbers = "outliers were removed before averaging".to_owned();
        out.find(&claim.id, AuditRule::OutliersRemoved, Severity::Misleading, numbers, cause);
    }
    match claim.held_back {
        None => {}
        Some((0, _)) => out.pass(&claim.id, AuditRule::ArrivalTimes),
        Some((n, all)) => {
            let numbers = format!(
                "in {n} of {all} trials the tokens arrived in a few pieces, or faster than the machine can make them"
            );
            let cause = "a proxy or a buffer held the answers back; their arrival times are not the engine's, on any \
                         machine";
            out.find(&claim.id, AuditRule::ArrivalTimes, Severity::Misleading, numbers, cause);
        }
    }
    if claim.workload == ClaimedWork::Training
        && let Some(rate) = claim.decode_tokens_per_s
    {
        let numbers = format!("{} tok/s called a decode rate", rate.high);
        let cause = "training processes whole sequences at once, like prefill; its rate says nothing about generation";
        out.find(&claim.id, AuditRule::TrainingSpeed, Severity::Misleading, numbers, cause);
    }
}
