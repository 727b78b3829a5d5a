//! How many users a machine serves with a model, how fast, and with which settings.

use super::answer::{
    AtRate, Decides, Knee, KneeCause, LoadVerdict, MOST_USERS, NewerMlx, UnderRate, UserRow,
    UsersThatFit,
};
use super::costs::{EstimatedCosts, Pace};
use super::load::{REQUESTS, SeenByUsers, arrivals, burst};
use super::replay::{Demand, TurnCosts, serve};
use super::scheduler::Scheduler;
use crate::estimate::memory::{Fit, Fits, Memory};
use crate::estimate::speed::{Decode, Prefill};
use crate::estimate::{EstimateError, Estimator, Run};
use crate::graph::cache::CacheKind;
use crate::hardware::machine::Machine;
use crate::roofline::decode::WIDE_SINCE;
use crate::run::{EngineSetup, MlxRelease, Program};
use std::cell::RefCell;
use std::collections::HashMap;

/// What is asked of several users.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UsersQuestion {
    /// Users.
    pub users: u32,
    /// Requests per second of all together, where they arrive at a rate.
    pub rate: Option<f64>,
    /// Tokens per second that each is to get.
    pub min_tok_s: Option<f64>,
    /// Seconds to the first token that are allowed.
    pub max_ttft_s: Option<f64>,
}

/// A model, an engine and a machine, ready to be asked about several users. Prompt and output are those of the run.
pub struct UsersOn<'a, 'm> {
    estimator: &'a Estimator<'m>,
    machine: &'a Machine,
    scheduler: Scheduler,
    costs: EstimatedCosts<'a>,
    /// What memory says of so many users.
    judged: RefCell<HashMap<u32, (Fit, Fits)>>,
}

impl<'a, 'm> UsersOn<'a, 'm> {
    /// A model and an engine on a machine.
    ///
    /// # Errors
    /// When the engine or the model cannot do what was asked.
    pub fn new(estimator: &'a Estimator<'m>, machine: &'a Machine) -> Result<Self, EstimateError> {
        estimator.possible()?;
        let merges = estimator.graph().cache_kinds().iter().all(CacheKind::merges);
        let scheduler = Scheduler::of(estimator.run(), merges);
        let costs = EstimatedCosts::of(estimator, machine)?;
        Ok(Self { estimator, machine, scheduler, costs, judged: RefCell::default() })
    }

    /// How the engine serves.
    #[must_use]
    pub const fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Whether it is mlx_lm.server.
    #[must_use]
    pub const fn is_mlx_lm_server(&self) -> bool {
        matches!(self.estimator.run().engine.program, Program::MlxServer)
    }

    /// The run with room for so many users.
    #[must_use]
    pub fn run_for(&self, users: u32) -> Run {
        let at_once = users.min(self.scheduler.generating);
        self.estimator.run().with_batch(1).with_parallel(Some(at_once.max(1)))
    }

    /// Memory with so many users at once.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn memory(&self, users: u32) -> Result<Memory, EstimateError> {
        let run = self.estimator.run().with_batch(1).with_parallel(Some(users.max(1)));
        Ok(self.estimator.with_run(run).memory(self.machine)?)
    }

    fn judged(&self, users: u32) -> Result<(Fit, Fits), EstimateError> {
        let known = self.judged.borrow().get(&users).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let found = self.memory(users)?.judgment;
        self.judged.borrow_mut().insert(users, (found.verdict, found.fits));
        Ok((found.verdict, found.fits))
    }

    /// Speeds with so many sequences at once.
    fn speeds(&self, sequences: u32) -> Result<(Decode, Prefill), EstimateError> {
        let run = self.estimator.run().with_batch(sequences);
        self.estimator.with_run(run).speeds(self.machine)
    }

    fn seen(&self, scheduler: &Scheduler, pace: Pace, demands: &[Demand]) -> Option<SeenByUsers> {
        SeenByUsers::of(&serve(scheduler, &self.costs.at(pace), demands))
    }

    /// So many users who send their requests at the same time.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn row(&self, users: u32) -> Result<Option<UserRow>, EstimateError> {
        let at_once = users.min(self.scheduler.generating);
        let (decode, prefill) = self.speeds(at_once)?;
        let [fast, slow] = ends(&decode, &prefill);
        let work = self.estimator.run().work;
        let demands = burst(users, work.context_tokens, work.generate_tokens);
        let seen = |pace| self.seen(&self.scheduler, pace, &demands);
        let (Some(expected), Some(soon), Some(late)) =
            (seen(Pace::EXPECTED), seen(fast), seen(slow))
        else {
            return Ok(None);
        };
        let memory = self.memory(at_once)?;
        let each = f64::from(at_once);
        Ok(Some(UserRow {
            users,
            at_once,
            total_tokens_per_s: decode.tokens_per_s,
            per_user_tokens_per_s: decode.tokens_per_s / each,
            interval_80: decode.interval_80,
            interval_90: decode.interval_90,
            per_user_interval_90: decode.interval_90.map(|x| x / each),
            ttft_median_s: expected.ttft_median_s,
            ttft_median_interval_90_s: [soon.ttft_median_s, late.ttft_median_s],
            ttft_p90_s: expected.ttft_p90_s,
            ttft_p90_interval_90_s: [soon.ttft_p90_s, late.ttft_p90_s],
            peak_bytes: memory.peak.peak_bytes,
            peak_interval_90_bytes: memory.peak_interval_90,
            fits: memory.judgment.verdict,
        }))
    }

    /// How many users there can be.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn fit(&self, question: &UsersQuestion) -> Result<UsersThatFit, EstimateError> {
        let by_engine = self.scheduler.generating;
        let memory = |safe: bool| {
            most(MOST_USERS, |users| {
                let (verdict, fits) = self.judged(users)?;
                Ok(if safe { verdict <= Fit::Tight } else { fits != Fits::No })
            })
        };
        let (by_memory, by_memory_safe) = (memory(false)?, memory(true)?);
        let asked = question.min_tok_s.is_some() || question.max_ttft_s.is_some();
        let speed = |safe: bool| most(by_engine, |users| self.fast_enough(question, users, safe));
        let (by_speed, by_speed_safe) =
            if asked { (Some(speed(false)?), Some(speed(true)?)) } else { (None, None) };
        let of_speed = by_speed.unwrap_or(u32::MAX);
        let decides = if by_memory <= of_speed && by_memory <= by_engine {
            Decides::Memory
        } else if of_speed <= by_engine && of_speed < u32::MAX {
            Decides::Speed
        } else {
            Decides::Engine
        };
        Ok(UsersThatFit {
            users: by_memory.min(of_speed).min(by_engine),
            safe: by_memory_safe.min(by_speed_safe.unwrap_or(u32::MAX)).min(by_engine),
            decides,
            by_memory,
            by_memory_safe,
            by_speed,
            by_speed_safe,
            by_engine,
        })
    }

    /// Whether so many users get what was asked for, as expected or at the slow ends of the intervals.
    fn fast_enough(
        &self,
        question: &UsersQuestion,
        users: u32,
        safe: bool,
    ) -> Result<bool, EstimateError> {
        let (decode, prefill) = self.speeds(users)?;
        let [_, slow] = ends(&decode, &prefill);
        let pace = if safe { slow } else { Pace::EXPECTED };
        let work = self.estimator.run().work;
        let rate = if safe { decode.interval_90[0] } else { decode.tokens_per_s };
        if question.min_tok_s.is_some_and(|least| rate / f64::from(users) < least) {
            return Ok(false);
        }
        let Some(most) = question.max_ttft_s else { return Ok(true) };
        let demands = burst(users, work.context_tokens, work.generate_tokens);
        Ok(self.seen(&self.scheduler, pace, &demands).is_some_and(|seen| seen.ttft_p90_s <= most))
    }

    /// Where more users hardly raise the total.
    #[must_use]
    pub fn knee(&self) -> Knee {
        let tokens = self.estimator.run().middle_tokens();
        let total = |users: u32| f64::from(users) / self.costs.step(users, tokens);
        let all: Vec<(u32, f64)> = (1..=self.scheduler.generating).map(|n| (n, total(n))).collect();
        let alone = total(1);
        let flat = all.windows(2).find_map(|pair| match pair {
            &[(users, now), (_, next)] if next - now < KNEE * alone => Some((users, now)),
            _ => None,
        });
        let most_tokens_per_s = all.iter().map(|(_, total)| *total).fold(alone, f64::max);
        let most_at =
            all.iter().find(|(_, total)| *total >= NEARLY * most_tokens_per_s).map_or(1, |p| p.0);
        let (users, total_tokens_per_s) = flat.or(all.last().copied()).unwrap_or((1, alone));
        let cause = flat.map(|(users, _)| self.cause(users, tokens));
        Knee { users, total_tokens_per_s, cause, most_tokens_per_s, most_at }
    }

    /// What the next user costs most.
    fn cause(&self, users: u32, tokens: u32) -> KneeCause {
        let (now, next) = (self.costs.parts(users, tokens), self.costs.parts(users + 1, tokens));
        let costs = [
            (KneeCause::Arithmetic, next.weights + next.head - now.weights - now.head),
            (KneeCause::Experts, next.experts - now.experts),
            (KneeCause::Cache, next.kv + next.states - now.kv - now.states),
            (KneeCause::Server, next.program - now.program),
        ];
        let dearest = costs.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        dearest.map_or(KneeCause::Arithmetic, |(cause, _)| cause)
    }

    /// The rate from which the queue grows without end: a prompt is read by itself, and tokens come from the number of
    /// sequences at once that yields most.
    fn most_requests(&self, scheduler: &Scheduler, pace: Pace) -> f64 {
        let (costs, work) = (self.costs.at(pace), self.estimator.run().work);
        let tokens = self.estimator.run().middle_tokens();
        let prompt = costs.chunk(1, 0, work.context_tokens);
        let token = (1..=scheduler.generating)
            .map(|n| costs.step(n, tokens) / f64::from(n))
            .fold(f64::INFINITY, f64::min);
        1.0 / (prompt + f64::from(work.generate_tokens) * token)
    }

    /// What at most so many users at once see when requests arrive at a rate.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn under(&self, rate: f64, users: u32) -> Result<Option<UnderRate>, EstimateError> {
        let scheduler = self.scheduler.limited_to(users, u32::MAX);
        let work = self.estimator.run().work;
        let demands = arrivals(rate, work.context_tokens, work.generate_tokens);
        let (decode, prefill) = self.speeds(scheduler.generating)?;
        let [fast, slow] = ends(&decode, &prefill);
        let seen = |pace| self.seen(&scheduler, pace, &demands);
        let (Some(expected), Some(best), Some(worst)) =
            (seen(Pace::EXPECTED), seen(fast), seen(slow))
        else {
            return Ok(None);
        };
        let most = self.most_requests(&scheduler, Pace::EXPECTED);
        let [least, highest] = [slow, fast].map(|pace| self.most_requests(&scheduler, pace));
        let one = self.seen(&scheduler.limited_to(users, 1), Pace::EXPECTED, &demands);
        let better = one.filter(|one| one.ttft_p90_s < expected.ttft_p90_s);
        Ok(Some(UnderRate {
            requests_per_s: rate,
            requests: REQUESTS,
            holds: if rate < least {
                LoadVerdict::Holds
            } else if rate < most {
                LoadVerdict::Uncertain
            } else {
                LoadVerdict::Overloaded
            },
            most_requests_per_s: most,
            most_requests_interval_90_per_s: [least, highest],
            ttft_median_s: expected.ttft_median_s,
            ttft_median_interval_90_s: [best.ttft_median_s, worst.ttft_median_s],
            ttft_p90_s: expected.ttft_p90_s,
            ttft_p90_interval_90_s: [best.ttft_p90_s, worst.ttft_p90_s],
            per_user_tokens_per_s: expected.tokens_per_s,
            slowest_tenth_tokens_per_s: expected.slowest_tenth,
            slowest_tenth_interval_90: [worst.slowest_tenth, best.slowest_tenth],
            reading_share: expected.reading,
            prompts_at_once: if better.is_some() { 1 } else { scheduler.reading },
            ttft_p90_then_s: better.map_or(expected.ttft_p90_s, |one| one.ttft_p90_s),
        }))
    }

    /// What at most so many users at once wait as requests come faster, up to nearly the most that the server keeps up with.
    pub fn by_rate(&self, users: u32) -> Vec<AtRate> {
        let scheduler = self.scheduler.limited_to(users, u32::MAX);
        let most = self.most_requests(&scheduler, Pace::EXPECTED);
        let work = self.estimator.run().work;
        let at = |share: &f64| {
            let rate = share * most;
            let demands = arrivals(rate, work.context_tokens, work.generate_tokens);
            let seen = self.seen(&scheduler, Pace::EXPECTED, &demands)?;
            Some(AtRate {
                requests_per_s: rate,
                ttft_median_s: seen.ttft_median_s,
                ttft_p90_s: seen.ttft_p90_s,
            })
        };
        SHARES.iter().filter_map(at).collect()
    }

    /// What the newest MLX would change, where the engine runs on one without the kernels for several rows.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn newer_mlx(&self, users: u32) -> Result<Option<NewerMlx>, EstimateError> {
        let run = *self.estimator.run();
        let (from, newest) = (run.engine.mlx.taken, EngineSetup::default().mlx.taken);
        let users = users.min(self.scheduler.generating);
        if run.engine.program.runs_gguf() || from >= WIDE_SINCE || users < 2 {
            return Ok(None);
        }
        let engine = EngineSetup { mlx: MlxRelease::known(newest), ..run.engine };
        let newer = self.estimator.with_run(run.with_engine(engine).with_batch(users));
        let (then, _) = newer.speeds(self.machine)?;
        let (now, _) = self.speeds(users)?;
        Ok(Some(NewerMlx {
            from,
            to: newest,
            users,
            gain: then.tokens_per_s / now.tokens_per_s - 1.0,
        }))
    }
}

/// The paces at the fast and the slow ends of the 90 % intervals.
fn ends(decode: &Decode, prefill: &Prefill) -> [Pace; 2] {
    [1, 0].map(|end| Pace {
        step: decode.tokens_per_s / decode.interval_90[end],
        chunk: prefill.tokens_per_s / prefill.interval_90[end],
    })
}

/// Shares of the most requests a second that are looked at.
const SHARES: [f64; 9] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// Share of what one user alone gets that the next one adds at least, below which the total hardly grows.
const KNEE: f64 = 0.25;
/// Share of the highest total that is nearly as much.
const NEARLY: f64 = 0.95;

/// The most up to `limit` for which something holds that holds for fewer where it holds for more; 0 for none.
fn most(
    limit: u32,
    mut holds: impl FnMut(u32) -> Result<bool, EstimateError>,
) -> Result<u32, EstimateError> {
    let (mut yes, mut step) = (0, 1);
    while yes < limit {
        let next = (yes + step).min(limit);
        if !holds(next)? {
            break;
        }
        (yes, step) = (next, step * 2);
    }
    let mut no = (yes + step).min(limit + 1);
    while no - yes > 1 {
        let middle = yes.midpoint(no);
        if holds(middle)? { yes = middle } else { no = middle }
    }
    Ok(yes)
}
