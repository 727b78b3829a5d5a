//! The probability that a requirement holds, from the intervals of a prediction.
//!
//! An 80 % and a 90 % interval and the prediction between them are five quantiles. Between them the logarithm of the
//! quantity is taken to follow the normal quantiles linearly, and beyond them with the slope from the middle to the end
//! of the 90 % interval. So the probability of staying above the lower end of the 90 % interval is 0.95 exactly.

use crate::estimate::memory::{Limit, Memory};
use crate::estimate::speed::{Decode, Prefill};
use crate::run::Work;
use crate::stats::{Z80, Z90, normal_share};
use schemars::JsonSchema;
use serde::Serialize;

/// A requirement is called met from this probability on, and failed up to one minus it: the threshold lies outside the
/// 90 % interval.
pub const SURE: f64 = 0.95;

/// Where a positive quantity will lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Normal quantile and natural logarithm of the quantity, ascending.
    knots: [(f64, f64); 5],
}

impl Spread {
    /// From a prediction and its central intervals.
    #[must_use]
    pub fn new(value: f64, interval_80: [f64; 2], interval_90: [f64; 2]) -> Self {
        let ln = |x: f64| x.max(f64::MIN_POSITIVE).ln();
        let [low, high] = interval_80.map(ln);
        let middle =
            if low < ln(value) && ln(value) < high { ln(value) } else { (low + high) / 2.0 };
        let [least, most] = interval_90.map(ln);
        Self {
            knots: [
                (-Z90, least.min(low)),
                (-Z80, low),
                (0.0, middle),
                (Z80, high),
                (Z90, most.max(high)),
            ],
        }
    }

    /// Probability that the quantity is at most `x`.
    #[must_use]
    pub fn at_most(&self, x: f64) -> f64 {
        if x <= 0.0 || x.is_nan() {
            return 0.0;
        }
        let x = x.ln();
        let [first, _, (_, middle), _, last] = self.knots;
        let beyond = |(z, end): (f64, f64)| {
            let slope = ((end - middle) / z).max(1e-9);
            z + (x - end) / slope
        };
        let z = if x < first.1 {
            beyond(first)
        } else if x > last.1 {
            beyond(last)
        } else {
            let inside = |pair: &&[(f64, f64)]| matches!(pair, [_, (_, high)] if x <= *high);
            match self.knots.windows(2).find(inside) {
                Some(&[(z0, low), (z1, high)]) if high > low => {
                    z0 + (z1 - z0) * (x - low) / (high - low)
                }
                Some(&[_, (z1, _)]) => z1,
                _ => last.0,
            }
        };
        normal_share(z)
    }

    /// Probability that the quantity is at least `x`.
    #[must_use]
    pub fn at_least(&self, x: f64) -> f64 {
        1.0 - self.at_most(x)
    }
}

impl Decode {
    /// Where the measured rate will lie, in tokens per second of all sequences together.
    #[must_use]
    pub fn spread(&self) -> Spread {
        Spread::new(self.tokens_per_s, self.interval_80, self.interval_90)
    }
}

impl Prefill {
    /// Where the measured time to first token of a work will lie, in seconds. The first decode step is taken as it is; it is a small part.
    #[must_use]
    pub fn ttft_spread(&self, work: &Work) -> Spread {
        let [eighty, ninety] =
            [self.interval_80, self.interval_90].map(|rates| self.ttft_at(rates, work));
        Spread::new(self.ttft_s, eighty, ninety)
    }

    /// Time to first token at both ends of an interval of the prefill rate, the shorter first, in seconds.
    #[must_use]
    pub fn ttft_at(&self, [slow, fast]: [f64; 2], work: &Work) -> [f64; 2] {
        let prompt = f64::from(work.read_tokens()) * f64::from(work.batch.max(1));
        let rest = self.ttft_s - prompt / self.tokens_per_s;
        let [soon, late] = self.pause.map_or([0.0; 2], |p| p.counted_spread_s());
        [prompt / fast + rest + soon, prompt / slow + rest + late]
    }
}

/// Probability that a peak stays under every hard limit of the machine, given the limits to plan with: those of the
/// current macOS. An older macOS has lower ones; the verdict takes the whole range.
#[must_use]
pub fn fits(memory: &Memory) -> f64 {
    memory.judgment.limits.iter().filter(|l| l.kind.is_hard()).map(under).fold(1.0, f64::min)
}

/// Probability that a need stays under its limit, from the 90 % range of the need.
#[must_use]
pub fn under(limit: &Limit) -> f64 {
    let allowed = limit.limit_bytes.0 as f64;
    let (need, [low, high]) =
        (limit.need_bytes.0 as f64, limit.need_range_bytes.map(|b| b.0 as f64));
    let side = if allowed < need { need - low } else { high - need };
    let sigma = side / Z90;
    match sigma > 0.0 {
        true => normal_share((allowed - need) / sigma),
        false => f64::from(u8::from(need <= allowed)),
    }
}

/// What a probability says about a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// The 90 % interval straddles the threshold.
    Uncertain,
    /// It does not hold.
    Fail,
}

impl Outcome {
    /// The outcome of a probability: the threshold lies below, in or above the 90 % interval.
    #[must_use]
    pub fn of(probability: f64) -> Self {
        if probability >= SURE {
            Self::Pass
        } else if probability <= 1.0 - SURE {
            Self::Fail
        } else {
            Self::Uncertain
        }
    }

    /// The word in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Uncertain => "uncertain",
            Self::Fail => "fail",
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spread() -> Spread {
        Spread::new(100.0, [90.0, 112.0], [83.0, 120.0])
    }

    #[test]
    fn the_ends_of_the_intervals_are_their_quantiles() {
        for (x, p) in [(83.0, 0.05), (90.0, 0.1), (100.0, 0.5), (112.0, 0.9), (120.0, 0.95)] {
            assert!((spread().at_most(x) - p).abs() < 1e-9, "{x}: {}", spread().at_most(x));
        }
    }

    /// Few rows stand behind the class of short prompts: both intervals of it are alike and start at the prediction.
    #[test]
    fn a_one_sided_interval_has_probabilities_too() {
        let s = Spread::new(100.0, [100.0, 147.8], [100.0, 147.8]);
        assert!(s.at_most(99.9) < 0.06 && s.at_most(148.0) > 0.94 && s.at_most(121.0) > 0.4);
    }

    #[test]
    fn a_point_is_a_step() {
        let s = Spread::new(5.0, [5.0; 2], [5.0; 2]);
        assert!(s.at_most(4.9) < 1e-6 && s.at_most(5.1) > 1.0 - 1e-6);
    }

    #[test]
    fn an_outcome_is_uncertain_where_the_interval_straddles() {
        assert_eq!(Outcome::of(spread().at_least(82.9)), Outcome::Pass);
        assert_eq!(Outcome::of(spread().at_least(84.0)), Outcome::Uncertain);
        assert_eq!(Outcome::of(spread().at_least(121.0)), Outcome::Fail);
    }

    proptest! {
        #[test]
        fn probabilities_rise_with_the_threshold(
            a in 1e-3f64..1e4, b in 1e-3f64..1e4, v in 1.0f64..1e3, w in 0.0f64..1.0, wider in 0.0f64..1.0,
        ) {
            let s = Spread::new(
                v,
                [v * (-w).exp(), v * w.exp()],
                [v * (-w - wider).exp(), v * (w + wider).exp()],
            );
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(s.at_most(low) <= s.at_most(high) + 1e-12);
            prop_assert!((0.0..=1.0).contains(&s.at_most(a)));
        }
    }
}
