//! Times that are known within an interval, and their sums.

use crate::roofline::kept::KeptTime;
use schemars::JsonSchema;
use serde::Serialize;

/// A time and the interval that holds nine of ten measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize)]
pub struct TimeRange {
    /// Seconds.
    pub seconds: f64,
    /// Shortest and longest, in seconds.
    pub interval_90_s: [f64; 2],
}

impl TimeRange {
    /// A time that is known.
    #[must_use]
    pub const fn known(seconds: f64) -> Self {
        Self { seconds, interval_90_s: [seconds; 2] }
    }

    /// A time within factors.
    #[must_use]
    pub fn within(seconds: f64, [low, high]: [f64; 2]) -> Self {
        Self { seconds, interval_90_s: [seconds * low, seconds * high] }
    }

    /// The time of so many tokens at a rate within an interval.
    #[must_use]
    pub fn of_tokens(tokens: f64, rate: f64, [slow, fast]: [f64; 2]) -> Self {
        Self { seconds: tokens / rate, interval_90_s: [tokens / fast, tokens / slow] }
    }

    /// A part of this time with the same relative error.
    #[must_use]
    pub fn part(self, seconds: f64) -> Self {
        let share = if self.seconds > 0.0 { seconds / self.seconds } else { 0.0 };
        Self { seconds, interval_90_s: self.interval_90_s.map(|s| s * share) }
    }

    /// The sum of times that err together, as those of one law do.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let [low, high] = self.interval_90_s;
        let [more_low, more_high] = other.interval_90_s;
        Self {
            seconds: self.seconds + other.seconds,
            interval_90_s: [low + more_low, high + more_high],
        }
    }

    /// The sum of times that err independently: the sides of the intervals add up as squares.
    #[must_use]
    pub fn sum(parts: &[Self]) -> Self {
        let seconds: f64 = parts.iter().map(|p| p.seconds).sum();
        let side = |end: usize| {
            parts.iter().map(|p| (p.seconds - p.interval_90_s[end]).powi(2)).sum::<f64>().sqrt()
        };
        Self { seconds, interval_90_s: [seconds - side(0), seconds + side(1)] }
    }
}

impl From<KeptTime> for TimeRange {
    fn from(time: KeptTime) -> Self {
        Self { seconds: time.seconds, interval_90_s: time.interval_90 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_add_up_together_or_as_squares() {
        let one = TimeRange { seconds: 10.0, interval_90_s: [7.0, 13.0] };
        let two = TimeRange { seconds: 20.0, interval_90_s: [16.0, 24.0] };
        assert_eq!(one.with(two), TimeRange { seconds: 30.0, interval_90_s: [23.0, 37.0] });
        let sum = TimeRange::sum(&[one, two, TimeRange::known(5.0)]);
        assert_eq!(sum, TimeRange { seconds: 35.0, interval_90_s: [30.0, 40.0] });
        assert_eq!(one.part(5.0).interval_90_s, [3.5, 6.5]);
    }
}
