//! Drafts of a run: who drafts, how many tokens a round, and how many of them are right.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Speculative decoding that was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draft {
    /// Who drafts.
    pub by: Drafter,
    /// Drafts a round.
    pub tokens: DraftTokens,
    /// How many of the drafts are right; `None` for ranges by task, which are assumptions.
    pub acceptance: Option<Acceptance>,
}

/// Who drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drafter {
    /// A smaller model.
    Model,
    /// The model's own prediction heads (MTP).
    Heads,
}

/// Drafts a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DraftTokens {
    /// As many as the engine takes unless told otherwise.
    #[default]
    Default,
    /// As many as are fastest.
    Best,
    /// So many.
    Stated(u32),
}

/// Probability that a draft is right, given that those before it in its round were: its lowest and highest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Acceptance {
    low: f64,
    high: f64,
}

/// Most drafts a round that can be asked for.
const MOST: u32 = 16;

impl Acceptance {
    /// Between two probabilities; `None` unless they are some, the lower first.
    #[must_use]
    pub fn between(low: f64, high: f64) -> Option<Self> {
        let probability = |p: f64| (0.0..=1.0).contains(&p);
        (probability(low) && probability(high) && low <= high).then_some(Self { low, high })
    }

    /// The lowest and the highest value.
    #[must_use]
    pub const fn ends(self) -> [f64; 2] {
        [self.low, self.high]
    }

    /// The value between them.
    #[must_use]
    pub const fn middle(self) -> f64 {
        f64::midpoint(self.low, self.high)
    }

    /// Whether it is one value.
    #[must_use]
    pub fn is_exact(self) -> bool {
        self.low.total_cmp(&self.high).is_eq()
    }
}

impl fmt::Display for Acceptance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_exact() {
            return write!(f, "{:.2}", self.low);
        }
        write!(f, "{:.2}–{:.2}", self.low, self.high)
    }
}

/// A text that is no acceptance.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "'{0}' is no acceptance; write the probability that a draft is right, such as 0.7, or a range such as 0.6..0.8 \
     (from 0 to 1)"
)]
pub struct BadAcceptance(pub String);

impl FromStr for Acceptance {
    type Err = BadAcceptance;

    fn from_str(text: &str) -> Result<Self, BadAcceptance> {
        let wrong = || BadAcceptance(text.to_owned());
        let number = |n: &str| n.trim().parse::<f64>().map_err(|_| wrong());
        let (low, high) = match text.split_once("..") {
            Some((low, high)) => (number(low)?, number(high.trim_start_matches('='))?),
            None => (number(text)?, number(text)?),
        };
        Self::between(low, high).ok_or_else(wrong)
    }
}

/// A text that is no number of drafts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is no number of drafts a round; write 1 to {MOST}, or auto for the fastest")]
pub struct BadDraftTokens(pub String);

impl FromStr for DraftTokens {
    type Err = BadDraftTokens;

    fn from_str(text: &str) -> Result<Self, BadDraftTokens> {
        if text.trim().eq_ignore_ascii_case("auto") {
            return Ok(Self::Best);
        }
        let number = text.trim().parse().ok().filter(|n| (1..=MOST).contains(n));
        number.map(Self::Stated).ok_or_else(|| BadDraftTokens(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acceptance_is_a_probability_or_a_range_of_them() {
        let ends = |text: &str| text.parse::<Acceptance>().map(Acceptance::ends);
        assert_eq!(ends("0.7"), Ok([0.7, 0.7]));
        assert_eq!(ends("0.6..0.8"), Ok([0.6, 0.8]));
        assert_eq!(ends(" 0 .. 1 "), Ok([0.0, 1.0]));
        for wrong in
            ["", "x", "0.8..0.6", "-0.1", "1.1", "60%", "0.5..", "..0.5", "nan", "0.1..inf"]
        {
            assert!(ends(wrong).is_err(), "{wrong}");
        }
        assert_eq!("0.6..0.8".parse::<Acceptance>().unwrap().to_string(), "0.60–0.80");
    }

    #[test]
    fn drafts_a_round_are_a_number_or_the_fastest() {
        assert_eq!("3".parse(), Ok(DraftTokens::Stated(3)));
        assert_eq!("AUTO".parse(), Ok(DraftTokens::Best));
        for wrong in ["0", "17", "-1", "best", ""] {
            assert!(wrong.parse::<DraftTokens>().is_err(), "{wrong}");
        }
    }
}
