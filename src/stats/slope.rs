//! Growth per turn of a long session, robust against single jumps.

use super::order::quantile_of_sorted;
use super::{SEED, median, median_in_place};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Points after settling below which nothing is said about a leak. Ten turns, as are often used, tell nothing: a
/// single reallocation or garbage collection decides the slope.
pub const MIN_POINTS: usize = 100;
/// Points that the slope is computed on; longer series are reduced to medians of neighbors.
const MAX_BINS: usize = 100;
const RESAMPLES: usize = 500;
/// Neighboring residuals that are resampled together, because memory comes in steps and plateaus.
const BLOCK: usize = 10;

/// What a growth says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// The interval lies above zero.
    Leak,
    /// The interval contains zero.
    NoLeakSeen,
    /// The interval lies below zero: memory is given back, or was still settling.
    Shrinking,
    /// Too few turns to say anything.
    TooFewTurns,
}

/// Growth per turn.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Slope {
    /// Theil–Sen slope, in the unit of the values a turn; `None` for fewer than two turns.
    pub per_turn: Option<f64>,
    /// 95 % interval (moving-block bootstrap of the residuals); `None` when there are too few turns.
    pub interval_95: Option<[f64; 2]>,
    /// Turns used, after the settling period.
    pub turns: usize,
    /// Turns left out at the beginning.
    pub settling_turns: usize,
    /// Whether memory grows.
    pub verdict: Trend,
}

/// The growth of values that were read after each turn, without the first `settling` of them.
///
/// The slope is the median of the slopes between all pairs of turns (Theil 1950; Sen, "Estimates of the Regression
/// Coefficient Based on Kendall's Tau", JASA 63, 1968). Its interval comes from resampling the residuals in blocks
/// (Künsch, Annals of Statistics 17, 1989), because neighboring readings depend on each other.
#[must_use]
pub fn leak_slope(values: &[f64], settling: usize) -> Slope {
    let settling = settling.min(values.len());
    let used = &values[settling..];
    let points = binned(used);
    let mut slope = Slope {
        per_turn: theil_sen(&points),
        interval_95: None,
        turns: used.len(),
        settling_turns: settling,
        verdict: Trend::TooFewTurns,
    };
    let per_turn = slope.per_turn.filter(|_| used.len() >= MIN_POINTS);
    let Some([low, high]) = per_turn.and_then(|slope| interval(&points, slope)) else {
        return slope;
    };
    slope.interval_95 = Some([low, high]);
    slope.verdict = match () {
        () if low > 0.0 => Trend::Leak,
        () if high < 0.0 => Trend::Shrinking,
        () => Trend::NoLeakSeen,
    };
    slope
}

/// Position and value of each turn, or of the middle of each group of turns.
fn binned(values: &[f64]) -> Vec<(f64, f64)> {
    let size = values.len().div_ceil(MAX_BINS).max(1);
    let group = |(i, chunk): (usize, &[f64])| {
        Some(((i * size) as f64 + (chunk.len() - 1) as f64 / 2.0, median(chunk)?))
    };
    values.chunks(size).enumerate().filter_map(group).collect()
}

fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (i, (x1, y1)) in points.iter().enumerate() {
        slopes.extend(points[i + 1..].iter().map(|(x2, y2)| (y2 - y1) / (x2 - x1)));
    }
    median_in_place(&mut slopes)
}

/// `points` has at least [`BLOCK`] entries, because [`MIN_POINTS`] turns give at least half as many groups.
fn interval(points: &[(f64, f64)], slope: f64) -> Option<[f64; 2]> {
    let offsets: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
    let middle = median(&offsets)?;
    let residuals: Vec<f64> = offsets.iter().map(|o| o - middle).collect();
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut slopes: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let mut drawn = Vec::with_capacity(points.len() + BLOCK);
            while drawn.len() < points.len() {
                let start = rng.usize(..=residuals.len() - BLOCK);
                drawn.extend_from_slice(&residuals[start..start + BLOCK]);
            }
            let again = points.iter().zip(&drawn).map(|((x, _), r)| (*x, slope * x + r));
            theil_sen(&again.collect::<Vec<_>>())
        })
        .collect();
    slopes.sort_by(f64::total_cmp);
    Some([quantile_of_sorted(&slopes, 0.025)?, quantile_of_sorted(&slopes, 0.975)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plateau with noise, growing by `slope` a turn.
    fn series(turns: usize, slope: f64, seed: u64) -> Vec<f64> {
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..turns).map(|i| 1000.0 + slope * i as f64 + 8.0 * (rng.f64() - 0.5)).collect()
    }

    #[test]
    fn a_leak_is_seen_and_its_size_is_right() {
        let s = leak_slope(&series(500, 0.4, 1), 20);
        assert_eq!((s.verdict, s.turns, s.settling_turns), (Trend::Leak, 480, 20));
        let [low, high] = s.interval_95.unwrap();
        assert!(low < 0.4 && 0.4 < high && high - low < 0.02, "{low} {high}");
    }

    #[test]
    fn a_plateau_is_no_leak_about_as_often_as_the_interval_says() {
        let calm = |seed| leak_slope(&series(200, 0.0, seed), 10).verdict == Trend::NoLeakSeen;
        let seen = (0..20).filter(|&seed| calm(seed)).count();
        assert!(seen >= 16, "{seen} of 20");
    }

    #[test]
    fn one_jump_is_not_a_leak() {
        let mut values = series(400, 0.0, 3);
        values[..30].iter_mut().for_each(|v| *v -= 300.0);
        assert_eq!(leak_slope(&values, 20).verdict, Trend::NoLeakSeen);
    }

    #[test]
    fn ten_turns_tell_nothing() {
        let s = leak_slope(&series(10, 64.4, 4), 0);
        assert_eq!((s.verdict, s.interval_95), (Trend::TooFewTurns, None));
        assert!(s.per_turn.is_some());
        assert_eq!(leak_slope(&[], 5).per_turn, None);
        assert_eq!(leak_slope(&[1.0; 8], 20).turns, 0);
    }

    #[test]
    fn memory_that_is_given_back_is_no_negative_leak() {
        assert_eq!(leak_slope(&series(300, -0.5, 5), 0).verdict, Trend::Shrinking);
        let flat = leak_slope(&[5.0; 150], 0);
        assert_eq!((flat.verdict, flat.interval_95), (Trend::NoLeakSeen, Some([0.0, 0.0])));
    }
}
