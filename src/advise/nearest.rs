//! When no Mac meets the needs: those that come nearest, which need each fails and by how much, and the smallest change of
//! one need with which one would pass.

use super::offers::{Offer, offers};
use super::purchase::{Chances, Needs, PurchaseError, of_memory};
use crate::estimate::{EstimateError, Estimator, Figures, Outcome};
use crate::hardware::catalog::{Macs, Status};
use crate::hardware::machine::Machine;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

/// A need of a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NeedKind {
    /// Peak memory under the limits; bytes.
    Memory,
    /// Tokens per second for each user.
    TokS,
    /// Seconds to the first token.
    Ttft,
    /// US dollars.
    Budget,
}

/// A need that a configuration does not surely meet.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Shortfall {
    /// The need.
    pub need: NeedKind,
    /// What is asked, or for memory allowed.
    pub asked: f64,
    /// What is expected, or what it costs.
    pub expected: f64,
    /// How many times one is the other: 2 is twice too slow, too much or too dear; 1 is met by expectation, but not surely.
    pub times: f64,
}

/// A configuration that does not meet the needs.
#[derive(Clone, Debug)]
pub struct Near {
    /// What is sold.
    pub offer: Offer,
    /// The machine.
    pub machine: Machine,
    /// Decode rate of the slowest model for each user.
    pub tok_s: f64,
    /// Time to first token of the slowest model.
    pub ttft_s: f64,
    /// Needs that it fails, the worst first.
    pub shortfalls: Vec<Shortfall>,
    /// Whether each of the needs would pass if it were at this value, for the change of one need.
    gives: Gives,
}

/// What a configuration surely gives.
#[derive(Clone, Copy, Debug)]
struct Gives {
    memory: bool,
    tok_s: f64,
    ttft_s: f64,
    usd: Option<u32>,
}

/// The change of one need with which a configuration passes.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Relaxed {
    /// The need.
    pub need: NeedKind,
    /// As it was asked.
    pub from: f64,
    /// As it would have to be.
    pub to: f64,
    /// The configuration that passes then: product and memory in GiB.
    pub mac: String,
    /// Its memory in GiB.
    pub memory_gib: u64,
}

/// What comes nearest to needs that nothing meets.
#[derive(Clone, Debug, Default)]
pub struct Nearest {
    /// Configurations, the nearest first.
    pub all: Vec<Near>,
    /// For each need alone, the smallest change with which one passes; the smallest of them first.
    pub changes: Vec<Relaxed>,
}

/// Looks for what comes nearest among every configuration, those beyond the budget too.
///
/// # Errors
/// When the catalog has problems or a model cannot be simulated.
pub fn nearest(
    catalog: &Macs,
    estimators: &[Estimator<'_>],
    needs: &Needs,
) -> Result<Nearest, PurchaseError> {
    let mut offered = offers(catalog)?;
    offered.retain(|(o, _)| needs.any_status || o.status == Status::OnSale);
    let mut all: Vec<Near> = offered
        .into_par_iter()
        .map(|(offer, machine)| Near::of(offer, machine, estimators, needs))
        .collect::<Result<_, EstimateError>>()?;
    all.sort_by(|a, b| {
        let price = |n: &Near| n.offer.usd_now.unwrap_or(u32::MAX);
        a.distance().total_cmp(&b.distance()).then(price(a).cmp(&price(b)))
    });
    let mut changes: Vec<Relaxed> = [NeedKind::TokS, NeedKind::Ttft, NeedKind::Budget]
        .into_iter()
        .filter_map(|need| relaxed(&all, needs, need))
        .collect();
    changes.sort_by(|a, b| a.times().total_cmp(&b.times()));
    Ok(Nearest { all, changes })
}

impl Near {
    fn of(
        offer: Offer,
        machine: Machine,
        estimators: &[Estimator<'_>],
        needs: &Needs,
    ) -> Result<Self, EstimateError> {
        let mut shortfalls: Vec<Shortfall> = Vec::new();
        let mut gives =
            Gives { memory: true, tok_s: f64::INFINITY, ttft_s: 0.0, usd: offer.usd_now };
        let (mut tok_s, mut ttft_s) = (f64::INFINITY, 0.0f64);
        for estimator in estimators {
            let figures = estimator.on(&machine)?;
            let work = estimator.run().work;
            let users = f64::from(work.batch.max(1));
            let chances = Chances::of(&figures, needs, &work);
            let rate = figures.decode.tokens_per_s / users;
            tok_s = tok_s.min(rate);
            ttft_s = ttft_s.max(figures.prefill.ttft_s);
            gives.memory &= of_memory(figures.memory.judgment.verdict) == Outcome::Pass;
            gives.tok_s = gives.tok_s.min(figures.decode.interval_90[0] / users);
            let late = figures.prefill.ttft_at(figures.prefill.interval_90, &work);
            gives.ttft_s = gives.ttft_s.max(late[1]);
            shortfalls.extend(of_memory_short(&figures));
            let unsure = |p: Option<f64>| p.is_some_and(|p| Outcome::of(p) != Outcome::Pass);
            if let Some(asked) = needs.min_tok_s.filter(|_| unsure(chances.tok_s)) {
                let times = asked / rate;
                shortfalls.push(Shortfall { need: NeedKind::TokS, asked, expected: rate, times });
            }
            if let Some(asked) = needs.max_ttft_s.filter(|_| unsure(chances.ttft)) {
                let expected = figures.prefill.ttft_s;
                let times = expected / asked;
                shortfalls.push(Shortfall { need: NeedKind::Ttft, asked, expected, times });
            }
        }
        if let Some((most, usd)) =
            needs.budget_usd.zip(offer.usd_now).filter(|(most, usd)| usd > most)
        {
            let (asked, expected) = (f64::from(most), f64::from(usd));
            let times = expected / asked;
            shortfalls.push(Shortfall { need: NeedKind::Budget, asked, expected, times });
        }
        shortfalls.sort_by(|a, b| b.times.total_cmp(&a.times));
        // Of several models the one that is furthest from each need.
        let mut kinds: Vec<NeedKind> = Vec::new();
        shortfalls.retain(|s| {
            let new = !kinds.contains(&s.need);
            kinds.push(s.need);
            new
        });
        Ok(Self { offer, machine, tok_s, ttft_s, shortfalls, gives })
    }

    /// How far it is from all needs: the sum of the logarithms of what is missing.
    fn distance(&self) -> f64 {
        self.shortfalls.iter().map(|s| s.times.max(1.0).ln() + 0.01).sum()
    }

    /// Whether it passes when one need is left out.
    fn passes_without(&self, needs: &Needs, left_out: NeedKind) -> bool {
        let is = |need| need != left_out;
        let g = self.gives;
        let fast = needs.min_tok_s.is_none_or(|x| g.tok_s >= x);
        let soon = needs.max_ttft_s.is_none_or(|x| g.ttft_s <= x);
        // What has no known price may cost more.
        let cheap = needs.budget_usd.is_none_or(|most| g.usd.is_some_and(|usd| usd <= most));
        g.memory
            && (fast || !is(NeedKind::TokS))
            && (soon || !is(NeedKind::Ttft))
            && (cheap || !is(NeedKind::Budget))
    }
}

/// The memory that a model lacks.
fn of_memory_short(figures: &Figures) -> Option<Shortfall> {
    let judgment = &figures.memory.judgment;
    if of_memory(judgment.verdict) == Outcome::Pass {
        return None;
    }
    let times =
        |l: &crate::estimate::memory::Limit| l.need_bytes.0 as f64 / l.limit_bytes.0.max(1) as f64;
    let worst = judgment.limits.iter().max_by(|a, b| times(a).total_cmp(&times(b)))?;
    let (asked, expected) = (worst.limit_bytes.0 as f64, worst.need_bytes.0 as f64);
    Some(Shortfall { need: NeedKind::Memory, asked, expected, times: times(worst) })
}

/// The smallest change of one need with which a configuration passes.
fn relaxed(all: &[Near], needs: &Needs, need: NeedKind) -> Option<Relaxed> {
    let from = match need {
        NeedKind::TokS => needs.min_tok_s?,
        NeedKind::Ttft => needs.max_ttft_s?,
        NeedKind::Budget => f64::from(needs.budget_usd?),
        NeedKind::Memory => return None,
    };
    let possible = all.iter().filter(|n| n.passes_without(needs, need));
    let value = |n: &Near| match need {
        NeedKind::TokS => rounded_down(n.gives.tok_s),
        NeedKind::Ttft => rounded_up(n.gives.ttft_s),
        _ => n.gives.usd.map_or(f64::INFINITY, f64::from),
    };
    let distance = |n: &Near| {
        let x = value(n);
        if need == NeedKind::TokS { from / x } else { x / from }
    };
    let best = possible.min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    let (mac, memory_gib) = (best.offer.mac.clone(), best.offer.memory_gib);
    let to = value(best);
    to.is_finite().then_some(Relaxed { need, from, to, mac, memory_gib })
}

impl Relaxed {
    /// By which factor the need changes.
    fn times(&self) -> f64 {
        (self.from / self.to).max(self.to / self.from)
    }
}

/// A figure with two digits, no larger.
fn rounded_down(x: f64) -> f64 {
    let unit = 10f64.powf(x.log10().floor() - 1.0);
    (x / unit).floor() * unit
}

/// A figure with two digits, no smaller.
fn rounded_up(x: f64) -> f64 {
    let unit = 10f64.powf(x.log10().floor() - 1.0);
    (x / unit).ceil() * unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::money::Economics;
    use crate::advise::purchase::purchase;
    use crate::graph::Graph;
    use crate::model::catalog::Models;
    use crate::roofline::Coefficients;
    use crate::run::Run;

    /// Whatever is asked too much of: the change that is named makes one pass.
    #[test]
    fn the_smallest_change_makes_one_pass() {
        let models = Models::built_in().expect("the built-in catalog");
        let entry = models.get("Qwen/Qwen3-8B").expect("there").entry().expect("readable");
        let graph =
            Graph::quantized(&entry.config, "4bit".parse().expect("a scheme")).expect("known");
        let coefficients = Coefficients::embedded().expect("built in");
        let estimators = [Estimator::of_graph(coefficients, &graph, Run::default())];
        let macs = Macs::embedded();
        for needs in [
            Needs { min_tok_s: Some(5000.0), ..Needs::default() },
            Needs { max_ttft_s: Some(0.01), budget_usd: Some(3000), ..Needs::default() },
            Needs { min_tok_s: Some(2000.0), budget_usd: Some(900), ..Needs::default() },
        ] {
            let ask = |needs: &Needs| {
                purchase(&macs, &estimators[..], needs, &Economics::default()).expect("answered")
            };
            assert!(ask(&needs).choices.is_empty(), "{needs:?}");
            let found = nearest(&macs, &estimators[..], &needs).expect("answered");
            assert!(found.all.iter().all(|n| !n.shortfalls.is_empty()));
            let change = found.changes.first().expect("one need can be changed");
            let mut eased = needs;
            match change.need {
                NeedKind::TokS => eased.min_tok_s = Some(change.to),
                NeedKind::Ttft => eased.max_ttft_s = Some(change.to),
                _ => eased.budget_usd = Some(change.to as u32),
            }
            let passing = ask(&eased);
            let named = |c: &crate::advise::purchase::Choice| {
                c.offer.mac == change.mac && c.offer.memory_gib == change.memory_gib
            };
            let choice = passing.choices.iter().find(|c| named(c)).expect("it is among them");
            assert_ne!(choice.outcome, Outcome::Fail, "{change:?}");
        }
    }

    #[test]
    fn rounding_stays_on_the_safe_side() {
        assert!((rounded_down(118.9) - 110.0).abs() < 1e-9);
        assert!((rounded_up(0.0312) - 0.032).abs() < 1e-9);
    }
}
