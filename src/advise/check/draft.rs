//! The drafts of a workload: `draft`, `acceptance` and `draft_tokens`.

use super::lookup::Lookup;
use crate::advise::drafts::in_format_of;
use crate::estimate::speculation::DraftChoice;
use crate::estimate::{Basis, Estimator, OpenedModel, Run};
use crate::hardware::catalog::document::{DataEntry, Field};
use crate::roofline::Coefficients;
use crate::run::{Acceptance, Draft, DraftTokens, Drafter};
use toml::de::DeValue;

/// The run with the drafts that a workload asks for, and the model that makes them. Where there can be none, the plan is
/// wrong, with the reason.
pub(super) fn read(
    entry: &mut DataEntry<'_>,
    model: &OpenedModel,
    run: Run,
    lookup: &Lookup<'_>,
) -> Option<(Run, Option<OpenedModel>)> {
    let acceptance: Option<Acceptance> = entry.optional("acceptance");
    let tokens: Option<DraftTokens> = entry.optional("draft_tokens");
    let Some(name) = entry.optional::<String>("draft") else {
        for key in ["acceptance", "draft_tokens"] {
            if entry.has(key) {
                entry.wrong(key, "says something of drafts, and there is no draft".to_owned());
            }
        }
        return Some((run, None));
    };
    let heads = name.eq_ignore_ascii_case("mtp");
    let by = if heads { Drafter::Heads } else { Drafter::Model };
    let run = run.with_draft(Some(Draft { by, tokens: tokens.unwrap_or_default(), acceptance }));
    let draft = match heads {
        true => None,
        false => match (lookup.model)(run.engine.program, &name, None) {
            Ok(draft) => Some(in_format_of(model, draft)),
            Err(message) => {
                entry.wrong("draft", message);
                return None;
            }
        },
    };
    let choice = draft.as_ref().map_or(DraftChoice::Heads, DraftChoice::Model);
    let coefficients = Coefficients::embedded().map_err(|e| e.to_string());
    let may = coefficients.and_then(|coefficients| {
        let estimator = Estimator::new(coefficients, model, run, Basis::Spec);
        estimator.may_draft(&choice).map_err(|e| e.to_string())?.map_err(|e| e.to_string())
    });
    match may {
        Ok(()) => Some((run, draft)),
        Err(reason) => {
            entry.wrong("draft", reason);
            None
        }
    }
}

impl Field for Acceptance {
    const EXPECTED: &'static str = "a probability such as 0.7, or a range such as \"0.6..0.8\"";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_float() {
            Some(number) => number.as_str().parse().ok(),
            None => value.as_str()?.parse().ok(),
        }
    }
}

impl Field for DraftTokens {
    const EXPECTED: &'static str = "drafts a round from 1 to 16, or \"auto\"";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_integer() {
            Some(number) => number.as_str().parse().ok(),
            None => value.as_str()?.parse().ok(),
        }
    }
}
