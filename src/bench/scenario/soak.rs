//! Many turns in a row: does memory grow, and does the speed decline with heat.

use crate::bench::run::BenchRun;
use crate::bench::summary::TrialMetric;
use crate::bench::trial::Trial;
use crate::stats::{Slope, leak_slope, median};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Name of the case.
const CASE: &str = "turns";
/// Turns at the beginning that are left out of the slope, at least.
const SETTLING: usize = 20;

/// How long a soak goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// So many turns.
    Turns(u32),
    /// Until so much time has passed.
    Time(Duration),
}

/// A memory metric over the turns.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct MemoryGrowth {
    /// The metric.
    pub metric: TrialMetric,
    /// Bytes a turn, with interval and verdict.
    pub slope: Slope,
}

/// One engine over all turns.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Soak {
    /// Label of the engine.
    pub engine: String,
    /// Turns that succeeded.
    pub turns: usize,
    /// Turns that failed.
    pub failed: usize,
    /// Growth of each memory metric that could be read.
    pub growth: Vec<MemoryGrowth>,
    /// Decode rate: median of the first and of the last tenth of the turns, tokens per second.
    pub decode_first_last: Option<[f64; 2]>,
    /// Change of the decode rate a turn, tokens per second, with its interval.
    pub decode_slope: Slope,
}

/// Runs all engines in turn until the length is reached.
pub fn soak(run: &mut BenchRun<'_>, length: Length) -> Vec<Soak> {
    let begin = Instant::now();
    let begun = run.trials.len();
    let mut round = 0;
    loop {
        let over = run.stop.requested()
            || match length {
                Length::Turns(n) => round >= n,
                Length::Time(time) => begin.elapsed() >= time,
            };
        if over {
            break;
        }
        let prompt = run.unique_prompt();
        for who in 0..run.contenders.len() {
            if run.measure(who, CASE, Some(round), &prompt).is_none() {
                break;
            }
        }
        round += 1;
    }
    let trials = &run.trials[begun..];
    run.contenders.iter().map(|c| summarize(&c.label, trials)).collect()
}

fn summarize(engine: &str, trials: &[Trial]) -> Soak {
    let mine: Vec<&Trial> = trials.iter().filter(|t| t.engine == engine).collect();
    let good: Vec<&Trial> = mine.iter().copied().filter(|t| t.failure.is_none()).collect();
    let settling = SETTLING.max(good.len() / 10);
    let values = |m: TrialMetric| -> Vec<f64> { good.iter().filter_map(|t| m.of(t)).collect() };
    let growth =
        [TrialMetric::FootprintBytes, TrialMetric::ResidentBytes, TrialMetric::MlxActiveBytes]
            .into_iter()
            .filter_map(|metric| {
                let values = values(metric);
                (!values.is_empty())
                    .then(|| MemoryGrowth { metric, slope: leak_slope(&values, settling) })
            })
            .collect();
    let rates = values(TrialMetric::DecodeTokensPerS);
    let tenth = (rates.len() / 10).max(1);
    let first = median(rates.get(..tenth).unwrap_or_default());
    let last = median(rates.get(rates.len().saturating_sub(tenth)..).unwrap_or_default());
    Soak {
        engine: engine.to_owned(),
        turns: good.len(),
        failed: mine.len() - good.len(),
        growth,
        decode_first_last: first.zip(last).map(|(a, b)| [a, b]),
        decode_slope: leak_slope(&rates, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::memory::MemoryReading;
    use crate::stats::Trend;

    #[test]
    fn growth_and_decline_are_seen() {
        let trial = |i: u32| Trial {
            engine: "A".to_owned(),
            decode_tokens_per_s: Some(50.0 - 0.05 * f64::from(i)),
            memory: Some(MemoryReading {
                resident_bytes: Some(
                    1_000_000_000 + 400_000 * u64::from(i) + 7 * u64::from(i % 13),
                ),
                ..MemoryReading::default()
            }),
            ..Trial::default()
        };
        let trials: Vec<Trial> = (0..300).map(trial).collect();
        let soak = summarize("A", &trials);
        assert_eq!((soak.turns, soak.growth.len()), (300, 1));
        let slope = &soak.growth[0].slope;
        assert_eq!((slope.verdict, slope.settling_turns), (Trend::Leak, 30));
        assert!((slope.per_turn.unwrap() - 400_000.0).abs() < 100.0);
        let [first, last] = soak.decode_first_last.unwrap();
        assert!(first > 49.0 && last < 36.0);
        assert_eq!(soak.decode_slope.verdict, Trend::Shrinking);
    }
}
