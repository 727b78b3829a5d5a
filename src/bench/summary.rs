//! From trials to figures: one line for each engine and case, and ratios between two engines.

use super::failure::FailureKind;
use super::trial::{Trial, TrialFlag};
use crate::stats::TrialSummary;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A figure of a trial that is summarized.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TrialMetric {
    /// Time to first token, seconds.
    TtftS,
    /// Decode rate, tokens per second.
    DecodeTokensPerS,
    /// Prefill rate, tokens per second.
    PrefillTokensPerS,
    /// Tokens per second of the whole request.
    EndToEndTokensPerS,
    /// The engine's own decode rate, tokens per second.
    OwnDecodeTokensPerS,
    /// The engine's own prefill rate, tokens per second.
    OwnPrefillTokensPerS,
    /// The engine's own load time, seconds.
    LoadS,
    /// Tokens of the prompt.
    PromptTokens,
    /// Tokens of the prompt from a cache.
    CachedTokens,
    /// Tokens generated.
    GeneratedTokens,
    /// Physical footprint after the trial, bytes (macOS).
    FootprintBytes,
    /// Resident set after the trial, bytes.
    ResidentBytes,
    /// Mean power of CPU, GPU and neural engine, watts (macOS).
    PackageW,
    /// Energy for each generated token of the whole request, joules (macOS).
    JoulesPerToken,
    /// MLX's active memory after the trial, bytes.
    MlxActiveBytes,
    /// MLX's peak of active memory, bytes.
    MlxPeakBytes,
}

impl TrialMetric {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::TtftS,
        Self::DecodeTokensPerS,
        Self::PrefillTokensPerS,
        Self::EndToEndTokensPerS,
        Self::OwnDecodeTokensPerS,
        Self::OwnPrefillTokensPerS,
        Self::LoadS,
        Self::PromptTokens,
        Self::CachedTokens,
        Self::GeneratedTokens,
        Self::FootprintBytes,
        Self::ResidentBytes,
        Self::PackageW,
        Self::JoulesPerToken,
        Self::MlxActiveBytes,
        Self::MlxPeakBytes,
    ];

    /// The figure of a trial.
    #[must_use]
    pub fn of(self, t: &Trial) -> Option<f64> {
        let count = |n: Option<u32>| n.map(f64::from);
        let bytes = |n: Option<u64>| n.map(|b| b as f64);
        match self {
            Self::TtftS => t.ttft_s,
            Self::DecodeTokensPerS => t.decode_tokens_per_s,
            Self::PrefillTokensPerS => t.prefill_tokens_per_s,
            Self::EndToEndTokensPerS => t.end_to_end_tokens_per_s,
            Self::OwnDecodeTokensPerS => t.own_decode_tokens_per_s,
            Self::OwnPrefillTokensPerS => t.own_prefill_tokens_per_s,
            Self::LoadS => t.own.load_s,
            Self::PromptTokens => count(t.prompt_tokens),
            Self::CachedTokens => count(t.cached_tokens),
            Self::GeneratedTokens => count(t.generated_tokens),
            Self::FootprintBytes => bytes(t.memory?.footprint_bytes),
            Self::ResidentBytes => bytes(t.memory?.resident_bytes),
            Self::PackageW => Some(t.power?.package_w),
            Self::JoulesPerToken => t.power?.joules_per_token,
            Self::MlxActiveBytes => bytes(t.memory?.mlx_active_bytes),
            Self::MlxPeakBytes => bytes(t.memory?.mlx_peak_bytes),
        }
    }
}

/// The trials of one engine and case.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct CaseSummary {
    /// Label of the engine.
    pub engine: String,
    /// The case.
    pub case: String,
    /// Sequences generated together, where more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Requests that ran at the same time; 0 in results of older versions.
    #[serde(default)]
    pub users: u32,
    /// Trials, warm-up left out.
    pub trials: usize,
    /// Those that failed, by kind.
    pub failures: BTreeMap<FailureKind, usize>,
    /// Trials with each flag.
    pub flags: BTreeMap<TrialFlag, usize>,
    /// The figures; those that no trial has are absent.
    pub metrics: BTreeMap<TrialMetric, TrialSummary>,
}

impl CaseSummary {
    /// One figure.
    #[must_use]
    pub fn metric(&self, metric: TrialMetric) -> Option<&TrialSummary> {
        self.metrics.get(&metric)
    }

    /// Trials that failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failures.values().sum()
    }
}

/// Summaries in the order in which engines and cases first appear.
#[must_use]
pub fn summarize(trials: &[Trial]) -> Vec<CaseSummary> {
    let mut keys: Vec<(&str, &str)> = Vec::new();
    for t in trials.iter().filter(|t| !t.warm_up) {
        let key = (t.case.as_str(), t.engine.as_str());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let cases: Vec<&str> = distinct(keys.iter().map(|k| k.0));
    keys.sort_by_key(|(case, engine)| (cases.iter().position(|c| c == case), engine.to_owned()));
    keys.iter().map(|&(case, engine)| one(trials, case, engine)).collect()
}

fn distinct<'t>(items: impl Iterator<Item = &'t str>) -> Vec<&'t str> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

fn one(trials: &[Trial], case: &str, engine: &str) -> CaseSummary {
    let mine = |t: &&Trial| !t.warm_up && t.case == case && t.engine == engine;
    let mine: Vec<&Trial> = trials.iter().filter(mine).collect();
    let mut failures = BTreeMap::new();
    let mut flags = BTreeMap::new();
    for t in &mine {
        if let Some(f) = &t.failure {
            *failures.entry(f.kind).or_insert(0) += 1;
        }
        for flag in &t.flags {
            *flags.entry(*flag).or_insert(0) += 1;
        }
    }
    let metric = |m: TrialMetric| {
        let values: Vec<f64> = mine.iter().filter(|t| t.counts()).filter_map(|t| m.of(t)).collect();
        TrialSummary::of(&values).map(|s| (m, s))
    };
    CaseSummary {
        engine: engine.to_owned(),
        case: case.to_owned(),
        batch: mine.iter().find_map(|t| t.batch),
        users: mine.iter().map(|t| t.users).max().unwrap_or(1).max(1),
        trials: mine.len(),
        failures,
        flags,
        metrics: TrialMetric::ALL.into_iter().filter_map(metric).collect(),
    }
}

/// Two engines on one case. A ratio above 1 says that the first is better.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct EngineComparison {
    /// The case.
    pub case: String,
    /// Label of the first engine.
    pub first: String,
    /// Label of the second engine.
    pub second: String,
    /// First over second: decode rates of the same rounds.
    pub decode_ratio: Option<TrialSummary>,
    /// First over second: prefill rates of the same rounds.
    pub prefill_ratio: Option<TrialSummary>,
    /// Second over first: times to first token of the same rounds.
    pub ttft_ratio: Option<TrialSummary>,
    /// Second over first: resident memory. Mapped and allocated weights are counted differently; see the notes.
    pub resident_ratio: Option<TrialSummary>,
}

/// Compares the engines `first` and `second` case by case, trial against trial of the same round.
#[must_use]
pub fn compare(trials: &[Trial], first: &str, second: &str) -> Vec<EngineComparison> {
    let counted: Vec<&Trial> = trials.iter().filter(|t| t.counts()).collect();
    let cases = distinct(counted.iter().map(|t| t.case.as_str()));
    let paired = |case: &str, metric: TrialMetric| -> Vec<(f64, f64)> {
        let of = |engine: &str, round: u32| {
            let same = |t: &&&Trial| t.engine == engine && t.case == case && t.round == round;
            counted.iter().find(same).and_then(|t| metric.of(t)).filter(|v| *v > 0.0)
        };
        let rounds = counted.iter().filter(|t| t.case == case && t.engine == first);
        rounds.filter_map(|t| Some((of(first, t.round)?, of(second, t.round)?))).collect()
    };
    let swapped =
        |pairs: Vec<(f64, f64)>| pairs.into_iter().map(|(a, b)| (b, a)).collect::<Vec<_>>();
    cases
        .iter()
        .map(|case| EngineComparison {
            case: (*case).to_owned(),
            first: first.to_owned(),
            second: second.to_owned(),
            decode_ratio: TrialSummary::of_ratios(&paired(case, TrialMetric::DecodeTokensPerS)),
            prefill_ratio: TrialSummary::of_ratios(&paired(case, TrialMetric::PrefillTokensPerS)),
            ttft_ratio: TrialSummary::of_ratios(&swapped(paired(case, TrialMetric::TtftS))),
            resident_ratio: TrialSummary::of_ratios(&swapped(paired(
                case,
                TrialMetric::ResidentBytes,
            ))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(engine: &str, round: u32, decode: f64) -> Trial {
        Trial {
            engine: engine.to_owned(),
            case: "x".to_owned(),
            round,
            decode_tokens_per_s: Some(decode),
            ..Trial::default()
        }
    }

    #[test]
    fn failures_are_counted_and_warm_ups_are_not() {
        let failed = Trial {
            engine: "A".to_owned(),
            case: "x".to_owned(),
            ..Trial::failed(FailureKind::Timeout, "late".to_owned())
        };
        let warm = Trial { warm_up: true, ..trial("A", 0, 1.0) };
        let trials = [warm, trial("A", 0, 10.0), failed, trial("A", 2, 12.0)];
        let s = summarize(&trials);
        assert_eq!((s.len(), s[0].trials, s[0].failed()), (1, 3, 1));
        let decode = s[0].metric(TrialMetric::DecodeTokensPerS).unwrap();
        assert_eq!((decode.n, decode.median), (2, 11.0));
        assert_eq!(s[0].metric(TrialMetric::TtftS), None);
    }

    #[test]
    fn trials_of_one_round_are_compared() {
        let trials = [
            trial("A", 0, 40.0),
            trial("B", 0, 20.0),
            trial("B", 1, 5.0),
            trial("A", 1, 10.0),
            trial("A", 2, 90.0),
        ];
        let c = &compare(&trials, "A", "B")[0];
        let ratio = c.decode_ratio.as_ref().unwrap();
        assert_eq!((ratio.n, ratio.median), (2, 2.0));
        assert_eq!(c.ttft_ratio, None);
    }
}
