//! The longest wait of a session, and its longest turn.

use super::growth::{TurnTokens, turns};
use super::run_of;
use super::spec::SessionSpec;
use crate::estimate::{EstimateError, Estimator, TimeRange};
use crate::hardware::machine::Machine;

impl SessionSpec {
    /// Its turns: at least one.
    pub(super) fn all_turns(&self) -> Vec<TurnTokens> {
        turns(self).take(self.turns.max(1) as usize).collect()
    }

    /// The turn with the most tokens in the cache at its end.
    #[must_use]
    pub fn longest_turn(&self) -> Option<TurnTokens> {
        self.all_turns().into_iter().max_by_key(TurnTokens::total)
    }
}

/// Turns of which no other reads as many tokens behind as many: one of them waits longest.
fn hardest(mut all: Vec<TurnTokens>) -> Vec<TurnTokens> {
    let read = |t: &TurnTokens| t.prompt - t.cached.min(t.prompt);
    all.sort_by_key(|t| std::cmp::Reverse((t.prompt, read(t))));
    let mut most = None;
    all.retain(|t| {
        let harder = most.is_none_or(|most| read(t) > most);
        if harder {
            most = Some(read(t));
        }
        harder
    });
    all
}

/// The longest time to first token of a session's turns, with the cache that each keeps.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn longest_wait(
    estimator: &Estimator<'_>,
    machine: &Machine,
    spec: &SessionSpec,
) -> Result<Option<TimeRange>, EstimateError> {
    let mut longest: Option<TimeRange> = None;
    for t in hardest(spec.all_turns()) {
        let turn = estimator.with_run(run_of(estimator.run(), &t)).turn(machine, t.tools_s)?;
        let wait = turn.warm.first_token;
        if longest.is_none_or(|known| wait.seconds > known.seconds) {
            longest = Some(wait);
        }
    }
    Ok(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hardest_turns_are_timed() {
        let spec: SessionSpec =
            "turns=40,system=6000,prompt=300,output=500,tool=1500".parse().expect("a session");
        let all = spec.all_turns();
        let found = hardest(all.clone());
        // The first reads most, the last is the deepest.
        assert_eq!((found.len(), found[0], found[1]), (2, all[39], all[0]));
        assert_eq!(spec.longest_turn(), Some(all[39]));
    }
}
