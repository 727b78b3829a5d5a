//! A trial: what one request measured, raw and complete. Failed trials are trials too.

use super::arrivals;
use super::energy::Power;
use super::failure::{Failure, FailureKind};
use super::generation::{CountSource, Generation, OwnTimings};
use super::memory::MemoryReading;
use crate::stats;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of a case: prompt tokens, and sequences if there are several.
#[must_use]
pub fn case_name(tokens: u32, batch: u32) -> String {
    match batch {
        0 | 1 => format!("{tokens} tokens"),
        n => format!("{tokens} tokens × {n}"),
    }
}

/// What is odd about a trial. Flagged trials stay in; figures that a flag makes meaningless are absent.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TrialFlag {
    /// The engine gave no token count, and nothing else could count: no rates.
    NoTokenCount,
    /// The engine's counts contradict each other, the limit or the number of pieces: no rates.
    CountsDisagree,
    /// Pieces carry several tokens, so that the first of them hides part of the decoding time.
    BundledTokens,
    /// A gap far longer than the others.
    Stall,
    /// Part of the prompt came from a cache.
    CachedPrefix,
    /// Fewer tokens than asked for: the model ended its answer.
    EndedEarly,
    /// The engine saw far fewer prompt tokens than were sent.
    TruncatedPrompt,
    /// Tokens came all at once: nothing was streamed.
    NotStreamed,
    /// The answer was handed over in a few pieces, so that its arrival times support no rate.
    Burst,
    /// Faster than the machine can read the model's weights: no rate.
    AboveBound,
}

impl TrialFlag {
    /// What it means, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoTokenCount => {
                "neither the engine nor a tokenizer gave a token count, so there is no rate; --tokenizer names one"
            }
            Self::CountsDisagree => {
                "the engine's token counts contradict each other or the limit, so there is no rate"
            }
            Self::BundledTokens => {
                "several tokens arrived in one piece; the rate reads too high by up to the first piece"
            }
            Self::Stall => "a gap far longer than the others (kept in the figures)",
            Self::CachedPrefix => "part of the prompt came from a cache; prefill counts the rest",
            Self::EndedEarly => "the model ended its answer before the limit",
            Self::TruncatedPrompt => "the engine saw fewer prompt tokens than were sent",
            Self::NotStreamed => "nothing was streamed, so there is no time to first token",
            Self::Burst => {
                "the answer was held back and handed over in a few pieces (a proxy, a buffer), so its arrival times \
                 support no rate and no time to first token"
            }
            Self::AboveBound => {
                "faster than the machine can read the model's weights, so there is no rate: another model or machine, \
                 or an answer that was held back"
            }
        }
    }
}

/// One request or in-process generation.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Trial {
    /// Label of the engine within the run: `A`, `B`.
    pub engine: String,
    /// Position in the order of execution, from 0.
    pub index: u32,
    /// What was varied: the prompt kind, the depth, the number of users …
    pub case: String,
    /// Number of the round, from 0; trials of one round and case are compared with each other.
    pub round: u32,
    /// Not part of the summary.
    pub warm_up: bool,
    /// When it began, seconds since the run began.
    pub started_s: f64,
    /// Why it failed; all figures are then absent.
    pub failure: Option<Failure>,
    /// Oddities.
    pub flags: Vec<TrialFlag>,
    /// From the request to the first piece of text, seconds.
    pub ttft_s: Option<f64>,
    /// From the request to the end of the answer, seconds.
    pub total_s: Option<f64>,
    /// Uncached prompt tokens over `ttft_s`. Includes the first token's step and the way to the server.
    pub prefill_tokens_per_s: Option<f64>,
    /// `generated_tokens − 1` over the time from the first to the last token.
    pub decode_tokens_per_s: Option<f64>,
    /// `generated_tokens` over `total_s`: what a user who waits sees. Not a decode speed.
    pub end_to_end_tokens_per_s: Option<f64>,
    /// Requests that ran at the same time, this one included; 0 stands for one.
    #[serde(default)]
    pub users: u32,
    /// Sequences generated together, where more than one: rates are then those of all, counts those of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the prompt that came from a cache, where the engine tells.
    pub cached_tokens: Option<u32>,
    /// Tokens generated.
    pub generated_tokens: Option<u32>,
    /// Who counted them.
    pub count_source: Option<CountSource>,
    /// Why generation ended.
    pub finish_reason: Option<String>,
    /// Arrival of every piece of text (of every token, in process), seconds since the request.
    pub token_times_s: Vec<f64>,
    /// Longest time between two pieces, seconds.
    pub longest_gap_s: Option<f64>,
    /// The engine's own timings.
    pub own: OwnTimings,
    /// The engine's own decode rate, from its own timings.
    pub own_decode_tokens_per_s: Option<f64>,
    /// The engine's own prefill rate, from its own timings.
    pub own_prefill_tokens_per_s: Option<f64>,
    /// Memory after the trial, by the names of the metrics.
    pub memory: Option<MemoryReading>,
    /// Power during the trial, on a Mac.
    #[serde(default)]
    pub power: Option<Power>,
}

/// Gaps this many times longer than the median gap, and longer than [`STALL_LEAST_S`], are stalls.
const STALL_FACTOR: f64 = 10.0;
const STALL_LEAST_S: f64 = 0.25;
/// Fewer pieces than this share of the tokens: pieces carry several.
const BUNDLED_SHARE: f64 = 0.8;

/// The chat template's beginning is the same in all prompts and may well be cached.
const TEMPLATE_TOKENS: u32 = 48;

impl Trial {
    /// A trial that failed.
    #[must_use]
    pub fn failed(kind: FailureKind, message: String) -> Self {
        Self { failure: Some(Failure { kind, message }), ..Self::default() }
    }

    /// Computes a trial from what was observed. `limit` is the number of tokens that was asked for.
    #[must_use]
    pub fn of(g: &Generation, limit: u32) -> Self {
        let mut trial = Self {
            total_s: Some(g.total_s),
            prompt_tokens: g.counts.prompt,
            cached_tokens: g.counts.cached,
            generated_tokens: g.counts.generated,
            count_source: g.counts.source,
            finish_reason: g.finish_reason.clone(),
            token_times_s: g.arrivals_s.clone(),
            own: g.own,
            own_decode_tokens_per_s: rate_between(g.own.decode_tokens, g.own.decode_s),
            own_prefill_tokens_per_s: rate(g.own.prefill_tokens, g.own.prefill_s),
            ..Self::default()
        };
        let streamed = g.arrivals_s.len() >= 2;
        if streamed {
            trial.ttft_s = g.arrivals_s.first().copied();
            trial.gaps();
        } else {
            trial.flags.push(TrialFlag::NotStreamed);
        }
        trial.rates(g, limit, streamed);
        trial.flags.sort_unstable();
        trial
    }

    fn rates(&mut self, g: &Generation, limit: u32, streamed: bool) {
        let Some(generated) = g.counts.generated else {
            self.flags.push(TrialFlag::NoTokenCount);
            return;
        };
        if disagree(g, generated, limit) {
            self.flags.push(TrialFlag::CountsDisagree);
            return;
        }
        if generated < limit {
            self.flags.push(TrialFlag::EndedEarly);
        }
        let cached = g.counts.cached.unwrap_or(0);
        let prompt = g.counts.prompt.unwrap_or(0);
        if cached > TEMPLATE_TOKENS && f64::from(cached) > 0.1 * f64::from(prompt) {
            self.flags.push(TrialFlag::CachedPrefix);
        }
        self.end_to_end_tokens_per_s = rate(Some(generated), Some(g.total_s));
        let Some((first, last)) = span(g).filter(|_| streamed) else { return };
        if !arrivals::support_a_rate(&g.arrivals_s, generated, g.total_s) {
            self.flags.push(TrialFlag::Burst);
            self.ttft_s = None;
            return;
        }
        self.decode_tokens_per_s = rate_between(Some(generated), Some(last - first));
        self.prefill_tokens_per_s =
            rate(g.counts.prompt.map(|p| p.saturating_sub(cached)), Some(first));
        if (g.arrivals_s.len() as f64) < BUNDLED_SHARE * f64::from(generated) {
            self.flags.push(TrialFlag::BundledTokens);
        }
    }

    fn gaps(&mut self) {
        let gaps: Vec<f64> = self.token_times_s.windows(2).map(|w| w[1] - w[0]).collect();
        let longest = gaps.iter().copied().fold(0.0, f64::max);
        self.longest_gap_s = Some(longest);
        let usual = stats::median(&gaps).unwrap_or(0.0);
        if gaps.len() >= 8 && longest > STALL_LEAST_S && longest > STALL_FACTOR * usual {
            self.flags.push(TrialFlag::Stall);
        }
    }

    /// Takes the decode rate away from a trial that is faster than `bound`, tokens per second, and flags it.
    pub fn bound_by(&mut self, bound: f64) {
        if self.decode_tokens_per_s.is_some_and(|rate| rate > bound) {
            self.decode_tokens_per_s = None;
            self.flags.push(TrialFlag::AboveBound);
            self.flags.sort_unstable();
        }
    }

    /// Whether the trial's figures go into the summary.
    #[must_use]
    pub fn counts(&self) -> bool {
        !self.warm_up && self.failure.is_none()
    }
}

/// Arrival of the first and of the last token. A model that stops by itself ends with a token that has no text; the
/// piece with the reason for the end then marks its arrival.
fn span(g: &Generation) -> Option<(f64, f64)> {
    let first = *g.arrivals_s.first()?;
    let last = *g.arrivals_s.last()?;
    let end = g.finished_s.filter(|_| g.finish_reason.as_deref() == Some("stop"));
    Some((first, end.unwrap_or(last).max(last)))
}

/// Whether counts cannot be right: more tokens than allowed (one more may be the end token), fewer tokens than pieces
/// of text, or two counts in one answer that differ.
fn disagree(g: &Generation, generated: u32, limit: u32) -> bool {
    let pieces = g.arrivals_s.len() as f64;
    generated > limit.saturating_add(1)
        || f64::from(generated) * 1.1 + 2.0 < pieces
        || g.other_generated.is_some_and(|n| n != generated)
}

fn rate(tokens: Option<u32>, seconds: Option<f64>) -> Option<f64> {
    let (n, s) = (tokens.filter(|&n| n > 0)?, seconds.filter(|&s| s > 0.0)?);
    Some(f64::from(n) / s)
}

/// Tokens after the first over the time that they took. llama.cpp and Ollama, too, start their generation clock when
/// the first token is there.
fn rate_between(tokens: Option<u32>, seconds: Option<f64>) -> Option<f64> {
    rate(tokens.map(|n| n.saturating_sub(1)), seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::generation::Counts;

    /// `n` tokens, the first after a second, one each tenth of a second.
    fn generation(n: u32) -> Generation {
        let arrivals_s: Vec<f64> = (0..n).map(|i| 1.0 + 0.1 * f64::from(i)).collect();
        Generation {
            total_s: arrivals_s.last().copied().unwrap_or(1.0) + 0.05,
            arrivals_s,
            finish_reason: Some("length".to_owned()),
            counts: Counts {
                prompt: Some(500),
                cached: Some(0),
                generated: Some(n),
                source: Some(CountSource::Usage),
            },
            ..Generation::default()
        }
    }

    fn close(value: Option<f64>, expected: f64) {
        assert!((value.unwrap() - expected).abs() < 1e-9, "{value:?}, not {expected}");
    }

    #[test]
    fn rates_count_intervals_not_tokens() {
        let t = Trial::of(&generation(11), 11);
        assert!(t.flags.is_empty(), "{:?}", t.flags);
        close(t.ttft_s, 1.0);
        close(t.decode_tokens_per_s, 10.0);
        close(t.prefill_tokens_per_s, 500.0);
        close(t.end_to_end_tokens_per_s, 11.0 / 2.05);
    }

    #[test]
    fn the_servers_count_decides_not_the_number_of_pieces() {
        let mut g = generation(11);
        g.counts.generated = Some(21);
        let t = Trial::of(&g, 21);
        close(t.decode_tokens_per_s, 20.0);
        assert_eq!(t.flags, [TrialFlag::BundledTokens]);
    }

    #[test]
    fn impossible_counts_give_no_rate() {
        for (generated, limit, other) in [(50, 20, None), (5, 20, None), (20, 20, Some(15))] {
            let mut g = generation(20);
            g.counts.generated = Some(generated);
            g.other_generated = other;
            let t = Trial::of(&g, limit);
            assert!(t.flags.contains(&TrialFlag::CountsDisagree), "{generated} {limit}");
            assert_eq!((t.decode_tokens_per_s, t.end_to_end_tokens_per_s), (None, None));
            assert!(t.ttft_s.is_some());
        }
        let mut g = generation(20);
        g.counts = Counts::default();
        let t = Trial::of(&g, 20);
        assert_eq!((t.decode_tokens_per_s, &t.flags[..]), (None, &[TrialFlag::NoTokenCount][..]));
    }

    #[test]
    fn the_end_token_has_no_text_but_takes_time() {
        let mut g = generation(10);
        g.counts.generated = Some(11);
        g.finish_reason = Some("stop".to_owned());
        g.finished_s = Some(2.0);
        close(Trial::of(&g, 100).decode_tokens_per_s, 10.0);
    }

    #[test]
    fn cached_tokens_are_no_prefill() {
        let mut g = generation(11);
        g.counts.cached = Some(400);
        let t = Trial::of(&g, 11);
        close(t.prefill_tokens_per_s, 100.0);
        assert_eq!(t.flags, [TrialFlag::CachedPrefix]);
    }

    #[test]
    fn a_stall_is_flagged_and_counted() {
        let mut g = generation(20);
        g.arrivals_s.iter_mut().skip(10).for_each(|t| *t += 5.0);
        let t = Trial::of(&g, 20);
        assert_eq!(t.flags, [TrialFlag::Stall]);
        close(t.longest_gap_s, 5.1);
        close(t.decode_tokens_per_s, 19.0 / 6.9);
    }

    #[test]
    fn an_answer_in_one_piece_has_no_first_token() {
        let mut g = generation(1);
        g.counts.generated = Some(64);
        let t = Trial::of(&g, 64);
        assert_eq!((t.ttft_s, t.decode_tokens_per_s), (None, None));
        assert_eq!(t.flags, [TrialFlag::NotStreamed]);
        close(t.end_to_end_tokens_per_s, 64.0 / 1.05);
    }

    #[test]
    fn an_answer_that_was_held_back_has_no_rate() {
        let mut g = generation(128);
        g.total_s = 12.0;
        g.arrivals_s = (0..128).map(|i| 11.9 + 2e-6 * f64::from(i)).collect();
        let t = Trial::of(&g, 128);
        assert_eq!(t.flags, [TrialFlag::Burst]);
        let figures = (t.ttft_s, t.decode_tokens_per_s, t.prefill_tokens_per_s);
        assert_eq!(figures, (None, None, None));
        close(t.end_to_end_tokens_per_s, 128.0 / 12.0);
    }

    #[test]
    fn what_memory_cannot_deliver_is_no_rate() {
        let mut t = Trial::of(&generation(11), 11);
        t.bound_by(11.0);
        assert!(t.flags.is_empty() && t.decode_tokens_per_s.is_some());
        t.bound_by(9.0);
        assert_eq!((&t.flags[..], t.decode_tokens_per_s), (&[TrialFlag::AboveBound][..], None));
    }

    #[test]
    fn own_timings_are_kept_apart() {
        let mut g = generation(11);
        g.own = OwnTimings {
            prefill_tokens: Some(500),
            prefill_s: Some(0.5),
            decode_tokens: Some(11),
            decode_s: Some(0.8),
            load_s: None,
        };
        let t = Trial::of(&g, 11);
        close(t.own_decode_tokens_per_s, 12.5);
        close(t.own_prefill_tokens_per_s, 1000.0);
        close(t.decode_tokens_per_s, 10.0);
    }
}
