//! Claims next to each other.

use crate::audit::claim::ClaimKind;
use crate::audit::{AuditCase, AuditRule, JudgedClaims, Severity};
use crate::model::names::key;
use std::collections::BTreeMap;

/// Memory of two engines on one model at one quantization differs by less than this.
const UNEQUAL: f64 = 1.25;

pub(in crate::audit) fn check(cases: &[AuditCase], out: &mut JudgedClaims) {
    let mut groups: BTreeMap<&str, Vec<&AuditCase>> = BTreeMap::new();
    for case in cases {
        if let Some(group) = &case.claim.group {
            groups.entry(group).or_default().push(case);
        }
    }
    for (group, cases) in groups {
        theory(group, &cases, out);
        peers(&cases, out);
    }
}

fn theory(group: &str, cases: &[&AuditCase], out: &mut JudgedClaims) {
    let rule = AuditRule::TheoryNextToMeasurement;
    let measured = cases.iter().filter(|c| c.claim.kind == ClaimKind::Measured).count();
    for case in cases {
        let claim = &case.claim;
        if claim.kind == ClaimKind::Measured || measured == 0 {
            out.pass(&claim.id, rule);
            continue;
        }
        let numbers = format!(
            "a figure that is {} stands in '{group}' with {measured} measured one{}",
            claim.kind.name(),
            if measured == 1 { "" } else { "s" },
        );
        let cause = "nothing was run for it; a comparison needs both sides measured, or a label on the figure";
        out.find(&claim.id, rule, Severity::Misleading, numbers, cause);
    }
}

/// Engines that run the same model with very different memory do not run the same quantization.
fn peers(cases: &[&AuditCase], out: &mut JudgedClaims) {
    let rule = AuditRule::UnequalPeers;
    let mut models: BTreeMap<String, Vec<&AuditCase>> = BTreeMap::new();
    for case in cases {
        let claim = &case.claim;
        if let (Some(model), Some(_), ClaimKind::Measured) =
            (&claim.model, claim.memory_gb, claim.kind)
        {
            let context = claim.context().unwrap_or(0);
            models.entry(format!("{} at {context}", key(model))).or_default().push(case);
        }
    }
    for cases in models.values().filter(|c| c.len() > 1) {
        let memory = |c: &&&AuditCase| c.claim.memory_gb.map_or(0.0, |m| m.high);
        let largest = cases.iter().max_by(|a, b| memory(a).total_cmp(&memory(b)));
        let smallest = cases.iter().min_by(|a, b| memory(a).total_cmp(&memory(b)));
        let (Some(largest), Some(smallest)) = (largest, smallest) else { continue };
        let (high, low) = (memory(&largest), memory(&smallest));
        if high <= UNEQUAL * low {
            cases.iter().for_each(|c| out.pass(&c.claim.id, rule));
            continue;
        }
        let numbers = format!("{high} GB against {low} GB of {} for one model", smallest.claim.id);
        let cause = "the engines ran different quantizations, so the ratio of speeds is mostly the ratio of bytes; \
                     compare at equal bits per weight";
        out.find(&largest.claim.id, rule, Severity::Misleading, numbers, cause);
    }
}
