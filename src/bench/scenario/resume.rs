//! Coming back to a conversation: what a kept prompt cache saves.
//!
//! The first turn has a prompt that no cache has seen. The second continues the same conversation, so that an engine
//! that keeps its cache needs to process the new tokens only. What should be saved is predicted from the first turn's
//! own prompt speed: cached tokens over tokens per second.

use crate::bench::generation::{ChatRole, Prompt};
use crate::bench::run::BenchRun;
use crate::bench::scenario::depth::{DepthError, Lengths, learn};
use crate::bench::trial::Trial;
use crate::stats::{TrialSummary, median};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A conversation that was resumed, on one engine, at one length.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Resume {
    /// Label of the engine.
    pub engine: String,
    /// Length of the first prompt that was asked for, tokens.
    pub tokens: u32,
    /// Time to first token of the first turns, seconds.
    pub first_ttft_s: Option<TrialSummary>,
    /// Time to first token of the second turns, seconds.
    pub second_ttft_s: Option<TrialSummary>,
    /// Cached tokens of the second turns, as the engine counts them; `None` when it does not say.
    pub cached_tokens: Option<f64>,
    /// First over second time to first token, turn by turn.
    pub speed_up: Option<TrialSummary>,
    /// Seconds saved, turn by turn.
    pub saved_s: Option<TrialSummary>,
    /// Seconds that the cached tokens should save: their number over the prompt speed of the first turns.
    pub predicted_saving_s: Option<f64>,
}

/// Names of the two cases at a length.
fn names(tokens: u32) -> [String; 2] {
    [format!("first turn, {tokens} tokens"), format!("second turn, {tokens} tokens")]
}

/// Measures both turns at every length on every engine.
///
/// # Errors
/// When no engine counts prompt tokens, so that prompts of a wanted length cannot be made.
pub fn resume(run: &mut BenchRun<'_>, lengths: &[u32]) -> Result<Vec<Resume>, DepthError> {
    let filler = match learn(run) {
        // There is nothing to be told about a run that was ended.
        Err(_) if run.stop.requested() => return Ok(Vec::new()),
        filler => filler?,
    };
    for &tokens in lengths {
        for round in 0..run.protocol.trials {
            for who in 0..run.contenders.len() {
                if turns(run, who, tokens, round, &filler).is_none() {
                    return Ok(summaries(run, lengths));
                }
            }
        }
    }
    Ok(summaries(run, lengths))
}

fn summaries(run: &BenchRun<'_>, lengths: &[u32]) -> Vec<Resume> {
    let labels = || run.contenders.iter().map(|c| c.label.as_str());
    let pairs = lengths.iter().flat_map(|&tokens| labels().map(move |label| (tokens, label)));
    pairs.map(|(tokens, label)| summarize(&run.trials, label, tokens)).collect()
}

/// Both turns of one conversation; `None` when the run is to end.
fn turns(
    run: &mut BenchRun<'_>,
    who: usize,
    tokens: u32,
    round: u32,
    filler: &Lengths,
) -> Option<()> {
    let [first, second] = names(tokens);
    let text = run.prompts.long(filler.words(tokens));
    let opening = run.prompt(text);
    run.measure(who, &first, Some(round), &opening)?;
    let mut messages = opening.messages.clone();
    messages.push((ChatRole::Assistant, "Noted.".to_owned()));
    messages.push((ChatRole::User, "Now continue the list with ten more words.".to_owned()));
    run.measure(who, &second, Some(round), &Prompt { messages, ..opening }).map(|_| ())
}

fn summarize(trials: &[Trial], engine: &str, tokens: u32) -> Resume {
    let [first, second] = names(tokens);
    let of = |case: &str| -> Vec<&Trial> {
        trials.iter().filter(|t| t.counts() && t.engine == engine && t.case == case).collect()
    };
    let (first, second) = (of(&first), of(&second));
    let ttft = |trials: &[&Trial]| -> Vec<f64> { trials.iter().filter_map(|t| t.ttft_s).collect() };
    let pairs: Vec<(f64, f64)> = first
        .iter()
        .filter_map(|a| {
            let b = second.iter().find(|b| b.round == a.round)?;
            Some((a.ttft_s?, b.ttft_s.filter(|s| *s > 0.0)?))
        })
        .collect();
    let cached: Vec<f64> = second.iter().filter_map(|t| t.cached_tokens.map(f64::from)).collect();
    let rates: Vec<f64> = first.iter().filter_map(|t| t.prefill_tokens_per_s).collect();
    let cached_tokens = median(&cached);
    Resume {
        engine: engine.to_owned(),
        tokens,
        first_ttft_s: TrialSummary::of(&ttft(&first)),
        second_ttft_s: TrialSummary::of(&ttft(&second)),
        cached_tokens,
        speed_up: TrialSummary::of_ratios(&pairs),
        saved_s: TrialSummary::of(&pairs.iter().map(|(a, b)| a - b).collect::<Vec<_>>()),
        predicted_saving_s: cached_tokens.zip(median(&rates)).map(|(n, rate)| n / rate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_saving_is_measured_and_predicted() {
        let trial = |case: usize, ttft: f64, cached: u32| Trial {
            engine: "A".to_owned(),
            case: names(2000)[case].clone(),
            ttft_s: Some(ttft),
            cached_tokens: Some(cached),
            prefill_tokens_per_s: Some(200.0),
            ..Trial::default()
        };
        let r = summarize(&[trial(0, 10.0, 0), trial(1, 0.5, 1900)], "A", 2000);
        assert_eq!(r.speed_up.unwrap().median, 20.0);
        assert_eq!(r.saved_s.unwrap().median, 9.5);
        assert_eq!((r.cached_tokens, r.predicted_saving_s), (Some(1900.0), Some(9.5)));
    }
}
