//! Speed at growing context.
//!
//! The engine itself says how many tokens a prompt has. Two short prompts tell how many tokens a filler word takes and
//! how many the template adds; the prompts of the sweep are made from that, and the engine's count of each is compared
//! with what was sent: a context that is cut off silently shows.

use crate::bench::run::{BenchRun, mark_truncated};
use thiserror::Error;

/// Filler words of the two prompts that tell the length of a word.
const PROBES: [u32; 2] = [24, 152];

/// Why a sweep cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DepthError {
    /// No engine told how long its prompts are.
    #[error(
        "no engine says how many tokens a prompt has, so prompts of a wanted length cannot be made: {0}"
    )]
    NoCounts(String),
}

/// Length of filler text in tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lengths {
    tokens_per_word: f64,
    tokens_around: f64,
}

impl Lengths {
    pub(super) fn words(&self, tokens: u32) -> u32 {
        ((f64::from(tokens) - self.tokens_around) / self.tokens_per_word).round().max(1.0) as u32
    }
}

/// Name of the case of a depth.
fn name(tokens: u32) -> String {
    format!("{tokens} tokens")
}

/// Measures every engine with prompts of the given numbers of tokens.
///
/// # Errors
/// When no engine counts prompt tokens.
pub fn depth(run: &mut BenchRun<'_>, depths: &[u32]) -> Result<(), DepthError> {
    let lengths = match learn(run) {
        // There is nothing to be told about a run that was ended.
        Err(_) if run.stop.requested() => return Ok(()),
        lengths => lengths?,
    };
    let cases: Vec<(String, u32)> = depths.iter().map(|&d| (name(d), d)).collect();
    let before = run.trials.len();
    run.interleaved(&cases, |run, &tokens| {
        let text = run.prompts.long(lengths.words(tokens));
        run.prompt(text)
    });
    for trial in run.trials.iter_mut().skip(before) {
        let sent = cases.iter().find(|(name, _)| *name == trial.case).map(|(_, d)| *d);
        if let Some(sent) = sent {
            mark_truncated(trial, sent);
        }
    }
    Ok(())
}

/// Learns the length of filler words from the first engine that counts.
pub(super) fn learn(run: &mut BenchRun<'_>) -> Result<Lengths, DepthError> {
    let mut problem = "none was asked".to_owned();
    for who in 0..run.contenders.len() {
        let mut counted = [0.0; 2];
        for (count, words) in counted.iter_mut().zip(PROBES) {
            let text = run.prompts.long(words);
            let mut prompt = run.prompt(text);
            prompt.max_tokens = 2;
            let Some(trial) = run.measure(who, "length of the filler", None, &prompt) else {
                return Err(DepthError::NoCounts("the run was ended".to_owned()));
            };
            match (trial.prompt_tokens, &trial.failure) {
                (Some(n), None) => *count = f64::from(n),
                (_, Some(failure)) => problem.clone_from(&failure.message),
                (None, None) => problem = "its answers have no prompt_tokens".to_owned(),
            }
        }
        let [short, long] = counted;
        let tokens_per_word = (long - short) / f64::from(PROBES[1] - PROBES[0]);
        // Half a token a word would mean that the longer prompt was cut off.
        if short > 0.0 && (0.5..10.0).contains(&tokens_per_word) {
            let tokens_around = short - tokens_per_word * f64::from(PROBES[0]);
            return Ok(Lengths { tokens_per_word, tokens_around });
        }
        if short > 0.0 && long > 0.0 {
            problem = format!("prompts of 24 and 152 words count as {short} and {long} tokens");
        }
    }
    Err(DepthError::NoCounts(problem))
}

/// Depths of a sweep from 512 tokens up to a limit, doubling.
#[must_use]
pub fn doubling(limit: u32) -> Vec<u32> {
    (9..=17).map(|power| 1_u32 << power).filter(|d| *d <= limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_make_the_wanted_tokens() {
        let lengths = Lengths { tokens_per_word: 1.25, tokens_around: 40.0 };
        assert_eq!(lengths.words(1040), 800);
        assert_eq!(lengths.words(10), 1);
    }

    #[test]
    fn sweeps_double() {
        assert_eq!(doubling(4096), [512, 1024, 2048, 4096]);
        assert_eq!(doubling(131_072).last(), Some(&131_072));
    }
}
