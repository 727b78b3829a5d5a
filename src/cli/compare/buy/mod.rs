//! Which Mac to buy.

pub(in crate::cli) mod answer;
mod near;

use super::{Asked, doubts, new_models_text};
use crate::advise::money::Economics;
use crate::advise::nearest::{Nearest, nearest};
use crate::advise::purchase::{Needs, Purchase, purchase};
use crate::cli::compare::args::{CompareArgs, Stock};
use crate::cli::shared::context::Context;
use crate::cli::shared::exit::ExitStatus;
use crate::estimate::{Estimator, Outcome};
use crate::hardware::catalog::AS_OF;
use crate::report::Answer;
use crate::roofline::Coefficients;
use answer::{PurchaseAnswer, PurchaseAsked};
use anyhow::Result;

pub(super) fn run(
    context: &Context,
    args: &CompareArgs,
    asked: &Asked,
) -> Result<(Answer, ExitStatus)> {
    let needs = Needs {
        min_tok_s: args.needs.min_tok_s,
        max_ttft_s: args.needs.max_ttft,
        budget_usd: args.needs.budget,
        any_status: args.needs.stock == Stock::Any,
    };
    let money = Economics {
        years: args.money.years,
        usd_per_kwh: args.money.usd_per_kwh,
        tokens_per_day: args.money.tokens_per_day,
        api_usd_per_million_tokens: args.money.api_usd_per_mtok,
    };
    let estimators = asked.estimators(Coefficients::embedded()?);
    let before = asked.before(&estimators)?;
    let found = purchase(&context.catalogs.macs, &estimators, &needs, &money)?;
    let best = found.smallest().or(found.choices.first());
    let new = match best {
        Some(best) => asked.new_models(context, &best.machine)?,
        None => Vec::new(),
    };
    let near = if found.choices.is_empty() {
        nearest(&context.catalogs.macs, &estimators, &needs)?
    } else {
        Nearest::default()
    };
    let mut notes = notes((asked, &estimators), &found, &money);
    if let Some(best) = best.filter(|_| !new.is_empty()) {
        notes.push(new_models_text(&new, &best.machine));
    }
    let verdict = match found.outcome() {
        Outcome::Pass => ExitStatus::Ok,
        Outcome::Uncertain => ExitStatus::Uncertain,
        Outcome::Fail => ExitStatus::No,
    };
    let limit = args.needs.limit as usize;
    let estimators = &estimators[..];
    let asking = PurchaseAsked { asked, estimators, needs, money, before, limit };
    let answer = PurchaseAnswer::of(asking, &found, new, notes).with_nearest(&near);
    Ok((Answer::of(answer), verdict))
}

fn notes(
    (asked, estimators): (&Asked, &[Estimator<'_>]),
    found: &Purchase,
    money: &Economics,
) -> Vec<String> {
    let mut notes = asked.notes.clone();
    if asked.subjects.len() > 1 {
        notes.push("each model by itself, not all at once; tok/s is of the slowest; `mlxplan check` plans models together".to_owned());
    }
    notes.push(format!(
        "{} configurations looked at: {} fail a need, {} cost more than the budget; each with its smallest storage",
        found.considered, found.failed, found.over_budget
    ));
    notes.push("meets: probability that memory, tok/s and TTFT meet the needs, from the prediction intervals, as if their errors were independent; front: no other is faster for the same money".to_owned());
    let load = match money.tokens_per_day {
        Some(n) => format!("{n} tokens a day"),
        None => "day and night at full speed".to_owned(),
    };
    let energy = match money.usd_per_kwh {
        Some(_)
            if found
                .choices
                .iter()
                .any(|c| c.costs.gpu_energy_usd_per_million_tokens.is_some()) =>
        {
            "with the electricity of the GPU alone where its watts were measured, without elsewhere"
        }
        Some(_) => "without electricity: the watts of these chips were not measured",
        None => "without electricity",
    };
    notes.push(format!(
        "USD per Mtok: price over {} years, {load}, per million generated tokens, {energy}",
        money.years
    ));
    if money.api_usd_per_million_tokens.is_some() {
        notes.push("break-even: against the API's price of generated tokens alone".to_owned());
    }
    if found.choices.iter().any(|c| c.costs.busy_share.is_some_and(|b| b > 1.0)) {
        notes
            .push("some are too slow for the tokens a day (busy_share above 1 in JSON)".to_owned());
    }
    notes.push(format!("US list prices, state {AS_OF}, ? where none is known; prices.toml in --data-dir overrides them"));
    notes
        .extend(doubts(estimators, found.choices.iter().flat_map(|c| &c.runs).map(|r| &r.figures)));
    notes
}
