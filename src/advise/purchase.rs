//! Which Mac to buy: every configuration that meets the needs, with the probability that it does.

use super::money::{Costs, Economics};
use super::offers::{Offer, offers};
use crate::estimate::chance::{self, Outcome};
use crate::estimate::memory::{Fit, MaxContext};
use crate::estimate::{EstimateError, Estimator, Figures};
use crate::hardware::MacsError;
use crate::hardware::catalog::{Macs, Status};
use crate::hardware::machine::Machine;
use crate::run::Work;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use thiserror::Error;

/// What the Mac must do, for every model.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize)]
pub struct Needs {
    /// Tokens per second for each user, at least.
    pub min_tok_s: Option<f64>,
    /// Time to first token, at most.
    pub max_ttft_s: Option<f64>,
    /// Price, at most.
    pub budget_usd: Option<u32>,
    /// Also Macs that Apple no longer sells.
    pub any_status: bool,
}

/// Probabilities that one model meets the needs on one Mac.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Chances {
    /// Its peak stays under the limits of memory.
    pub memory: f64,
    /// It is fast enough, if that was asked.
    pub tok_s: Option<f64>,
    /// Its first token comes soon enough, if that was asked.
    pub ttft: Option<f64>,
}

impl Chances {
    /// The probabilities of what was found.
    #[must_use]
    pub fn of(figures: &Figures, needs: &Needs, work: &Work) -> Self {
        let users = f64::from(work.batch.max(1));
        Self {
            memory: chance::fits(&figures.memory),
            tok_s: needs.min_tok_s.map(|x| figures.decode.spread().at_least(x * users)),
            ttft: needs.max_ttft_s.map(|x| figures.prefill.ttft_spread(work).at_most(x)),
        }
    }

    /// Probability of all together, as if they were independent.
    #[must_use]
    pub fn joint(&self) -> f64 {
        self.memory * self.tok_s.unwrap_or(1.0) * self.ttft.unwrap_or(1.0)
    }
}

/// One model on one Mac.
#[derive(Clone, Debug)]
pub struct ModelOnMac {
    /// Memory and speeds.
    pub figures: Figures,
    /// The longest context; only searched for choices that may meet the needs.
    pub max_context: Option<MaxContext>,
    /// Probabilities that it meets the needs.
    pub chances: Chances,
}

/// A configuration that may meet the needs.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What is bought.
    pub offer: Offer,
    /// The machine.
    pub machine: Machine,
    /// Every model, in the order asked.
    pub runs: Vec<ModelOnMac>,
    /// Probability that it meets all needs, as if they were independent.
    pub probability: f64,
    /// What that amounts to; uncertain as well where the memory limit depends on the version of macOS.
    pub outcome: Outcome,
    /// Tokens per second of the slowest model, of all users together.
    pub tok_s: f64,
    /// No other choice is at least as fast and at least as cheap, and one of both better.
    pub pareto: bool,
    /// What tokens of the slowest model cost.
    pub costs: Costs,
}

/// All choices.
#[derive(Clone, Debug)]
pub struct Purchase {
    /// Those that pass, then the uncertain ones; each the cheapest first, then those without a price, the fastest first.
    pub choices: Vec<Choice>,
    /// Configurations looked at.
    pub considered: usize,
    /// Those left out because they fail a need.
    pub failed: usize,
    /// Those left out because they cost more than the budget.
    pub over_budget: usize,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum PurchaseError {
    /// The catalog of Macs has problems.
    #[error(transparent)]
    Catalog(#[from] MacsError),
    /// A model cannot be estimated.
    #[error(transparent)]
    Estimate(#[from] EstimateError),
}

/// Ranks every configuration of the catalog for a set of models.
///
/// # Errors
/// When the catalog has problems or a model cannot be simulated.
pub fn purchase(
    catalog: &Macs,
    estimators: &[Estimator<'_>],
    needs: &Needs,
    economics: &Economics,
) -> Result<Purchase, PurchaseError> {
    let mut all = offers(catalog)?;
    all.retain(|(o, _)| needs.any_status || o.status == Status::OnSale);
    let considered = all.len();
    let dear = |o: &Offer| needs.budget_usd.zip(o.usd_now).is_some_and(|(most, usd)| usd > most);
    all.retain(|(o, _)| !dear(o));
    let over_budget = considered - all.len();
    let judged: Vec<Option<Choice>> = all
        .into_par_iter()
        .map(|(offer, machine)| judge(offer, machine, estimators, needs, economics))
        .collect::<Result<_, EstimateError>>()?;
    let mut choices: Vec<Choice> = judged.into_iter().flatten().collect();
    let failed = considered - over_budget - choices.len();
    choices.sort_by(|a, b| {
        let unpriced = |c: &Choice| c.offer.usd_now.is_none();
        let by_price = || match a.offer.usd_now {
            Some(_) => a.offer.price_order().cmp(&b.offer.price_order()),
            None => b.tok_s.total_cmp(&a.tok_s),
        };
        a.outcome.cmp(&b.outcome).then(unpriced(a).cmp(&unpriced(b))).then_with(by_price)
    });
    mark_pareto(&mut choices);
    Ok(Purchase { choices, considered, failed, over_budget })
}

/// A configuration, unless it fails a need.
fn judge(
    offer: Offer,
    machine: Machine,
    estimators: &[Estimator<'_>],
    needs: &Needs,
    economics: &Economics,
) -> Result<Option<Choice>, EstimateError> {
    let mut runs = Vec::new();
    let mut probability = 1.0;
    let mut outcome = Outcome::Pass;
    for estimator in estimators {
        let figures = estimator.on(&machine)?;
        let work = estimator.run().work;
        let chances = Chances::of(&figures, needs, &work);
        probability *= chances.joint();
        outcome = outcome.max(of_memory(figures.memory.judgment.verdict));
        runs.push(ModelOnMac { figures, max_context: None, chances });
    }
    outcome = outcome.max(Outcome::of(probability));
    if outcome == Outcome::Fail {
        return Ok(None);
    }
    for (run, estimator) in runs.iter_mut().zip(estimators) {
        run.max_context = Some(estimator.max_context(&machine).map_err(EstimateError::from)?);
    }
    let tok_s = runs.iter().map(|r| r.figures.decode.tokens_per_s).fold(f64::INFINITY, f64::min);
    let costs = Costs::of(economics, offer.usd_now, tok_s, machine.decode_gpu_w);
    Ok(Some(Choice { offer, machine, runs, probability, outcome, tok_s, pareto: false, costs }))
}

/// What a verdict on memory means for a need.
#[must_use]
pub fn of_memory(fit: Fit) -> Outcome {
    match fit {
        Fit::Yes | Fit::Tight => Outcome::Pass,
        Fit::Uncertain => Outcome::Uncertain,
        Fit::No => Outcome::Fail,
    }
}

/// Marks the choices that pass and are on the front of price against speed; those without a price are on no front.
fn mark_pareto(choices: &mut [Choice]) {
    let points: Vec<(u32, f64)> = choices
        .iter()
        .filter(|c| c.outcome == Outcome::Pass)
        .filter_map(|c| Some((c.offer.usd_now?, c.tok_s)))
        .collect();
    for c in choices.iter_mut().filter(|c| c.outcome == Outcome::Pass) {
        let Some(usd) = c.offer.usd_now else { continue };
        let beaten = |&(u, t): &(u32, f64)| u <= usd && t >= c.tok_s && (u < usd || t > c.tok_s);
        c.pareto = !points.iter().any(beaten);
    }
}

impl Purchase {
    /// The cheapest choice that passes.
    #[must_use]
    pub fn smallest(&self) -> Option<&Choice> {
        self.choices.iter().find(|c| c.outcome == Outcome::Pass && c.offer.usd_now.is_some())
    }

    /// The next choice on the front above the smallest: dearer and faster.
    #[must_use]
    pub fn step_up(&self) -> Option<&Choice> {
        let smallest = self.smallest()?;
        let above = |c: &&Choice| {
            c.pareto && c.offer.usd_now > smallest.offer.usd_now && c.tok_s > smallest.tok_s
        };
        self.choices.iter().find(above)
    }

    /// The best outcome.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.choices.first().map_or(Outcome::Fail, |c| c.outcome)
    }
}

#[cfg(test)]
mod tests;
