//! Several users at once: total and per-user rates, the tail of the time to first token, and goodput.

use crate::bench::memory::{MemoryReading, highest_during};
use crate::bench::run::{BenchRun, one};
use crate::bench::trial::Trial;
use crate::stats::{TrialSummary, quantile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What a user is promised. A request that keeps it counts for goodput.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Promise {
    /// Longest time to first token, seconds.
    pub ttft_s: f64,
    /// Lowest decode rate of a user, tokens per second.
    pub decode_tokens_per_s: f64,
}

impl Promise {
    fn kept(&self, t: &Trial) -> bool {
        t.failure.is_none()
            && t.ttft_s.is_some_and(|s| s <= self.ttft_s)
            && t.decode_tokens_per_s.is_some_and(|r| r >= self.decode_tokens_per_s)
    }
}

/// One engine under so many users.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Load {
    /// Label of the engine.
    pub engine: String,
    /// Requests that were running at any time.
    pub users: u32,
    /// Requests in all.
    pub requests: usize,
    /// Those that failed.
    pub failed: usize,
    /// From the first request to the end of the last answer, seconds.
    pub wall_s: f64,
    /// Tokens of all answers over `wall_s`.
    pub total_tokens_per_s: Option<f64>,
    /// Decode rates of single requests.
    pub user_decode_tokens_per_s: Option<TrialSummary>,
    /// Quantiles of the time to first token, seconds: 50, 90, 95 and 99 %.
    pub ttft_quantiles_s: Option<[f64; 4]>,
    /// The promise.
    pub promise: Promise,
    /// Requests that kept it.
    pub kept: usize,
    /// Requests a second that kept it.
    pub goodput_requests_per_s: f64,
    /// Memory before the requests.
    pub memory_before: Option<MemoryReading>,
    /// Highest memory while they ran, read ten times a second.
    pub memory_highest: Option<MemoryReading>,
    /// Memory after them.
    pub memory_after: Option<MemoryReading>,
}

/// Puts every engine under every number of users; each user sends `requests` requests, one after the other.
pub fn concurrency(
    run: &mut BenchRun<'_>,
    users: &[u32],
    requests: u32,
    promise: Promise,
) -> Vec<Load> {
    for who in 0..run.contenders.len() {
        for _ in 0..run.protocol.warm_up {
            let prompt = run.unique_prompt();
            run.measure(who, "warm-up", None, &prompt);
        }
    }
    let mut loads = Vec::new();
    for &n in users {
        for who in 0..run.contenders.len() {
            if run.stop.requested() {
                return loads;
            }
            loads.push(load(run, who, n, requests, promise));
        }
    }
    loads
}

fn load(run: &mut BenchRun<'_>, who: usize, users: u32, requests: u32, promise: Promise) -> Load {
    run.pause();
    let contender = &run.contenders[who];
    let (label, target) = (contender.label.clone(), contender.generator);
    let prompts: Vec<Vec<_>> =
        (0..users).map(|_| (0..requests).map(|_| run.unique_prompt()).collect()).collect();
    let before = target.memory();
    let stop = run.stop.clone();
    let begin_s = run.elapsed_s();
    let begin = Instant::now();
    let work = || {
        std::thread::scope(|scope| {
            let user = |mine| {
                let stop = &stop;
                move || -> Vec<(f64, Trial)> {
                    let mine: &Vec<_> = mine;
                    let wanted = mine.iter().take_while(|_| !stop.requested());
                    wanted.map(|p| (begin.elapsed().as_secs_f64(), one(target, p))).collect()
                }
            };
            let users: Vec<_> = prompts.iter().map(|mine| scope.spawn(user(mine))).collect();
            users.into_iter().flat_map(|u| u.join().unwrap_or_default()).collect::<Vec<_>>()
        })
    };
    let (mut done, highest) = highest_during(&|| target.memory(), work);
    let wall_s = begin.elapsed().as_secs_f64();
    done.sort_by(|a, b| a.0.total_cmp(&b.0));
    let case = format!("{users} user{}", if users == 1 { "" } else { "s" });
    let mut trials = Vec::new();
    for (round, (at, trial)) in done.into_iter().enumerate() {
        let trial = Trial {
            engine: label.clone(),
            case: case.clone(),
            round: round as u32,
            users,
            started_s: begin_s + at,
            ..trial
        };
        trials.push(run.record(trial).clone());
    }
    let memory = (before, highest, target.memory());
    summarize(label, users, &trials, wall_s, promise, memory)
}

type Memory = (Option<MemoryReading>, Option<MemoryReading>, Option<MemoryReading>);

fn summarize(
    engine: String,
    users: u32,
    trials: &[Trial],
    wall_s: f64,
    promise: Promise,
    (memory_before, memory_highest, memory_after): Memory,
) -> Load {
    let good: Vec<&Trial> = trials.iter().filter(|t| t.failure.is_none()).collect();
    let tokens: Option<u64> = good.iter().map(|t| t.generated_tokens.map(u64::from)).sum();
    let ttft: Vec<f64> = good.iter().filter_map(|t| t.ttft_s).collect();
    let rates: Vec<f64> = good.iter().filter_map(|t| t.decode_tokens_per_s).collect();
    let at = |q: f64| quantile(&ttft, q);
    let kept = trials.iter().filter(|t| promise.kept(t)).count();
    Load {
        engine,
        users,
        requests: trials.len(),
        failed: trials.len() - good.len(),
        wall_s,
        total_tokens_per_s: tokens
            .filter(|_| !good.is_empty())
            .map(|n| n as f64 / wall_s.max(1e-9)),
        user_decode_tokens_per_s: TrialSummary::of(&rates),
        ttft_quantiles_s: at(0.5)
            .zip(at(0.9))
            .zip(at(0.95).zip(at(0.99)))
            .map(|((a, b), (c, d))| [a, b, c, d]),
        promise,
        kept,
        goodput_requests_per_s: kept as f64 / wall_s.max(1e-9),
        memory_before,
        memory_highest,
        memory_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::FailureKind;

    #[test]
    fn goodput_counts_kept_promises_only() {
        let trial = |ttft: f64, rate: f64| Trial {
            ttft_s: Some(ttft),
            decode_tokens_per_s: Some(rate),
            generated_tokens: Some(50),
            ..Trial::default()
        };
        let late = trial(9.0, 30.0);
        let failed = Trial::failed(FailureKind::Timeout, String::new());
        let trials = [trial(0.5, 30.0), trial(0.7, 5.0), late, failed];
        let promise = Promise { ttft_s: 1.0, decode_tokens_per_s: 10.0 };
        let load = summarize("A".to_owned(), 4, &trials, 10.0, promise, (None, None, None));
        assert_eq!((load.kept, load.failed, load.requests), (1, 1, 4));
        assert_eq!(load.goodput_requests_per_s, 0.1);
        assert_eq!(load.total_tokens_per_s, Some(15.0));
        assert_eq!(load.ttft_quantiles_s.unwrap()[0], 0.7);
    }
}
