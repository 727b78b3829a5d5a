//! How far a fine-tuning run can be taken on a machine.

use crate::estimate::Estimator;
use crate::estimate::memory::{Fit, Judgment};
use crate::graph::cache::CacheKind;
use crate::graph::training::FineTuning;
use crate::hardware::machine::Machine;
use crate::ledger::training::TrainingError;
use schemars::JsonSchema;
use serde::Serialize;

/// How far a run can be taken on a machine, each by itself, with the interval's upper end under the limit.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct LargestRun {
    /// The largest batch with samples of this length; `null` where not even one sample fits.
    pub batch: Option<u32>,
    /// The longest samples with this batch, in tokens; `null` where not even the shortest fit.
    pub tokens: Option<u32>,
}

/// Largest batch that is looked for.
const MOST_SAMPLES: u32 = 64;
/// Longest samples that are looked for, in units of 32 tokens.
const MOST_BLOCKS: u32 = 512;
/// Tokens of a unit.
const BLOCK: u32 = 32;

/// The largest batch and length that fit; `None` for models with recurrent layers, whose training runs token by token.
///
/// # Errors
/// When mlx-lm refuses the run.
pub fn largest(
    estimator: &Estimator<'_>,
    machine: &Machine,
    run: &FineTuning,
) -> Result<Option<LargestRun>, TrainingError> {
    let recurrent = |kind: &CacheKind| matches!(kind, CacheKind::Arrays(_));
    if estimator.graph().cache_kinds().iter().any(recurrent) {
        return Ok(None);
    }
    let of = |run: FineTuning| -> Result<Room, TrainingError> {
        Ok(Room::of(&estimator.fine_tuning_at_most(machine, &run)?.judgment))
    };
    let (batch, tokens) = rayon::join(
        || last(MOST_SAMPLES, run.batch, |batch| of(FineTuning { batch, ..run.clone() })),
        || {
            let start = run.tokens.div_ceil(BLOCK);
            last(MOST_BLOCKS, start, |n| of(FineTuning { tokens: n * BLOCK, ..run.clone() }))
        },
    );
    Ok(Some(LargestRun { batch: batch?, tokens: tokens?.map(|n| n * BLOCK) }))
}

/// Whether a run fits, and how much of the limit it takes that it comes nearest to.
#[derive(Clone, Copy, Debug)]
struct Room {
    fits: bool,
    share: f64,
}

impl Room {
    fn of(judgment: &Judgment) -> Self {
        let hard = judgment.limits.iter().filter(|l| l.kind.is_hard());
        let shares =
            hard.map(|l| l.need_range_bytes[1].0 as f64 / l.limit_range_bytes[0].0.max(1) as f64);
        Self { fits: judgment.verdict < Fit::Uncertain, share: shares.fold(0.0, f64::max) }
    }
}

/// Looks that follow a line before the rest is halved.
const BY_LINE: u32 = 4;

/// The last number up to `most` that fits; what fits a number fits every smaller one. Looks first at `start` and then where a
/// straight line puts the limit, because memory grows almost evenly with a batch and with short samples.
fn last<E>(most: u32, start: u32, of: impl Fn(u32) -> Result<Room, E>) -> Result<Option<u32>, E> {
    let first = of(1)?;
    if !first.fits {
        return Ok(None);
    }
    let mut known = vec![(1, first.share)];
    let (mut low, mut high) = (1, most + 1);
    let mut next = start;
    let mut looks = 0;
    while high - low > 1 {
        let n = next.clamp(low + 1, high - 1);
        let room = of(n)?;
        if room.fits {
            low = n
        } else {
            high = n
        }
        known.push((n, room.share));
        looks += 1;
        next = if looks < BY_LINE { on_line(&known) } else { low.midpoint(high) };
    }
    Ok(Some(low))
}

/// Where the line through the two looks that came nearest to the limit meets it.
fn on_line(known: &[(u32, f64)]) -> u32 {
    let mut nearest = known.to_vec();
    nearest.sort_by(|a, b| (a.1 - 1.0).abs().total_cmp(&(b.1 - 1.0).abs()));
    let [(x0, y0), (x1, y1), ..] = nearest[..] else { return 1 };
    let at = f64::from(x0) + (1.0 - y0) * (f64::from(x1) - f64::from(x0)) / (y1 - y0);
    if at.is_finite() { at.max(0.0) as u32 } else { x0 }
}

#[cfg(test)]
mod tests {
    use super::{Room, last};
    use std::cell::Cell;

    #[test]
    fn the_last_number_is_found_in_few_looks() {
        for bend in [0.0, 0.3, 1.0] {
            for limit in [0_u32, 1, 2, 3, 7, 8, 40, 63, 64, 100, 511, 512, 1000] {
                for start in [1, 4, 64, 600] {
                    let looks = Cell::new(0);
                    let needs = |n: f64| 5.0 + n + bend * n * n / 50.0;
                    let most = needs(f64::from(limit) + 0.5);
                    let of = |n: u32| -> Result<Room, ()> {
                        looks.set(looks.get() + 1);
                        let share = needs(f64::from(n)) / most;
                        Ok(Room { fits: share <= 1.0, share })
                    };
                    let found = last(512, start, of);
                    let expected = Some(limit.min(512)).filter(|&n| n > 0);
                    assert_eq!(found, Ok(expected), "{bend} {limit} {start}");
                    assert!(looks.get() <= 14, "{} looks: {bend} {limit} {start}", looks.get());
                }
            }
        }
    }
}
