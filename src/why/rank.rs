//! How likely causes are, given what was measured.
//!
//! Each suspect is there or not, independently, with its prior; those that are there multiply their factors. A factor is
//! known within a range, evenly in the logarithm, and a measurement scatters around the prediction times the factor as
//! the interval of the prediction says. Up to [`MOST`] suspects at once are weighed.

use super::GapCause;
use crate::stats::normal_share;
use std::collections::BTreeMap;
use std::f64::consts::PI;

/// Most causes that are taken to act at once.
pub const MOST: usize = 2;
/// Least scatter of a measurement around a prediction, as a standard deviation of the logarithm: repeats on one laptop.
const LEAST_SCATTER: f64 = 0.05;
/// Prior of a cause that is none of the list, and the factors that it may bring.
const UNKNOWN: f64 = 0.03;
const ANY: [f64; 2] = [1e-4, 10.0];

/// A cause that can apply, with what it would bring.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspect {
    /// The cause.
    pub cause: GapCause,
    /// Probability that it is there, before anything was measured.
    pub prior: f64,
    /// Factor on tokens per second, lowest and highest.
    pub decode: [f64; 2],
    /// Factor on the speed to the first token (predicted over measured time).
    pub first: [f64; 2],
    /// Whether the factor comes from the laws rather than from reports.
    pub computed: bool,
    /// Whether the prediction has it already.
    pub included: bool,
    /// What speaks for it, with figures.
    pub evidence: String,
    /// Where that was found.
    pub sources: Vec<String>,
    /// The command that tests it.
    pub test: String,
}

/// How a measured speed lies to the predicted one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    /// Logarithm of measured over predicted speed.
    pub log: f64,
    /// Standard deviation of it, were the prediction's assumptions true.
    pub sd: f64,
}

impl Gap {
    /// Of a speed with its 90 % interval.
    #[must_use]
    pub fn new(measured: f64, predicted: f64, interval_90: [f64; 2]) -> Self {
        let width = (interval_90[1] / interval_90[0]).ln() / (2.0 * crate::stats::Z90);
        Self { log: (measured / predicted).ln(), sd: width.max(LEAST_SCATTER) }
    }

    /// Density of the gap where the factor lies in a range, evenly in the logarithm.
    fn density(self, [low, high]: [f64; 2]) -> f64 {
        let z = |x: f64| (self.log - x) / self.sd;
        if high - low < 1e-3 * self.sd {
            return (-0.5 * z(low.midpoint(high)).powi(2)).exp() / (self.sd * (2.0 * PI).sqrt());
        }
        (normal_share(z(low)) - normal_share(z(high))).max(0.0) / (high - low)
    }
}

/// The causes, what explains most of the gap first.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Probability that nothing is there: the run is as predicted.
    pub nothing: f64,
    /// The causes that can have an effect on what was measured.
    pub causes: Vec<RankedCause>,
    /// The two suspects that explain it best together, where that is more probable than any alone.
    pub together: Option<[usize; 2]>,
    /// Share of the gap that is left to a cause that is none of these.
    pub unexplained: f64,
}

/// A cause with its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankedCause {
    /// The cause.
    pub cause: GapCause,
    /// Its most probable suspect.
    pub suspect: usize,
    /// Probability that it is there.
    pub probability: f64,
    /// Share of the gap that it is expected to explain, over all that may be there.
    pub explains: f64,
}

/// Ranks suspects by the gaps of decode and of the first token.
#[must_use]
pub fn rank(suspects: &[Suspect], gaps: [Option<Gap>; 2]) -> Ranked {
    let mut all: Vec<Active> =
        suspects.iter().enumerate().filter_map(|s| Active::of(s, gaps)).collect();
    let unknown = odds(UNKNOWN);
    all.push(Active {
        index: None,
        cause: GapCause::Unexplained,
        odds: unknown,
        logs: [logs(ANY); 2],
    });
    let density = |ranges: [[f64; 2]; 2]| -> f64 {
        gaps.iter().zip(ranges).filter_map(|(gap, r)| gap.map(|g| g.density(r))).product()
    };
    let nothing = density([[0.0; 2]; 2]);
    let mut total = nothing;
    let mut of = vec![[0.0_f64; 2]; all.len()];
    let (mut alone, mut pair) = (0.0_f64, (0.0_f64, None));
    for (i, a) in all.iter().enumerate() {
        let single = a.odds * density(a.logs);
        alone = alone.max(single);
        total += single;
        of[i][0] += single;
        of[i][1] += single * explained(a.logs, [[0.0; 2]; 2], gaps);
        for (j, b) in all.iter().enumerate().skip(i + 1).filter(|(_, b)| b.cause != a.cause) {
            let sum = |k: usize| [a.logs[k][0] + b.logs[k][0], a.logs[k][1] + b.logs[k][1]];
            let both = a.odds * b.odds * density([sum(0), sum(1)]);
            total += both;
            for (at, one, other) in [(i, a, b), (j, b, a)] {
                of[at][0] += both;
                of[at][1] += both * explained(one.logs, other.logs, gaps);
            }
            if both > pair.0 {
                pair = (both, a.index.zip(b.index).map(|(a, b)| [a, b]));
            }
        }
    }
    let share = |x: f64| if total > 0.0 { x / total } else { 0.0 };
    let mut by_cause: BTreeMap<GapCause, (RankedCause, f64)> = BTreeMap::new();
    for (a, [weight, explains]) in all.iter().zip(&of) {
        let Some(suspect) = a.index else { continue };
        let none = RankedCause { cause: a.cause, suspect, probability: 0.0, explains: 0.0 };
        let (cause, most) = by_cause.entry(a.cause).or_insert((none, 0.0));
        cause.probability += share(*weight);
        cause.explains += share(*explains);
        if *explains > *most {
            (cause.suspect, *most) = (suspect, *explains);
        }
    }
    // What the prediction has already is what slows a run that is as predicted.
    for (suspect, s) in suspects.iter().enumerate().filter(|(_, s)| s.included) {
        let (probability, explains) = (share(nothing), share(nothing));
        by_cause
            .insert(s.cause, (RankedCause { cause: s.cause, suspect, probability, explains }, 0.0));
    }
    let mut causes: Vec<RankedCause> = by_cause.into_values().map(|(cause, _)| cause).collect();
    causes.sort_by(|a, b| b.explains.total_cmp(&a.explains));
    let unexplained = of.last().map_or(0.0, |[_, explains]| share(*explains));
    let together = pair.1.filter(|_| pair.0 > alone.max(nothing));
    Ranked { nothing: share(nothing), causes, together, unexplained }
}

/// Share of the gaps that a factor explains beside another one, both known within ranges: none where it goes the other
/// way. Gaps count by how far they lie beyond the scatter.
fn explained(one: [[f64; 2]; 2], other: [[f64; 2]; 2], gaps: [Option<Gap>; 2]) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (k, gap) in gaps.iter().enumerate() {
        let Some(gap) = gap else { continue };
        let low = one[k][0].max(gap.log - other[k][1]).min(one[k][1]);
        let high = one[k][1].min(gap.log - other[k][0]).max(one[k][0]);
        let weight = gap.log.abs() / gap.sd;
        let part = low.midpoint(high) / gap.log;
        if part.is_finite() {
            sum += weight * part.clamp(0.0, 1.0);
            weights += weight;
        }
    }
    if weights > 0.0 { sum / weights } else { 0.0 }
}

/// A suspect that is weighed.
struct Active {
    index: Option<usize>,
    cause: GapCause,
    odds: f64,
    logs: [[f64; 2]; 2],
}

impl Active {
    /// A suspect that has an effect on what was measured.
    fn of((index, s): (usize, &Suspect), gaps: [Option<Gap>; 2]) -> Option<Self> {
        let logs = [logs(s.decode), logs(s.first)];
        let effect = gaps.iter().zip(logs).any(|(gap, r)| gap.is_some() && r != [0.0; 2]);
        let sound =
            effect && logs.iter().flatten().all(|x| x.is_finite()) && s.prior > 0.0 && !s.included;
        sound.then(|| Self { index: Some(index), cause: s.cause, odds: odds(s.prior), logs })
    }
}

fn odds(p: f64) -> f64 {
    p / (1.0 - p)
}

fn logs([low, high]: [f64; 2]) -> [f64; 2] {
    [low.min(high).ln(), high.max(low).ln()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect(cause: GapCause, prior: f64, decode: [f64; 2], first: [f64; 2]) -> Suspect {
        let (evidence, sources, test) = (String::new(), Vec::new(), String::new());
        let (computed, included) = (false, false);
        Suspect { cause, prior, decode, first, computed, included, evidence, sources, test }
    }

    fn gap(ratio: f64) -> Option<Gap> {
        Some(Gap::new(ratio, 1.0, [0.85, 1.18]))
    }

    fn all() -> Vec<Suspect> {
        vec![
            suspect(GapCause::MatrixUnitsOff, 0.2, [1.0; 2], [0.3, 0.4]),
            suspect(GapCause::PowerMode, 0.1, [0.3, 0.7], [0.3, 0.7]),
            suspect(GapCause::EndToEndRate, 0.1, [0.2, 0.9], [1.0; 2]),
            suspect(GapCause::MemoryPressure, 0.05, [0.001, 0.3], [0.001, 0.3]),
        ]
    }

    #[test]
    fn both_speeds_tell_causes_apart() {
        let first = |d, t| rank(&all(), [d, t]).causes[0].cause;
        assert_eq!(first(gap(1.0), gap(0.35)), GapCause::MatrixUnitsOff);
        assert_eq!(first(gap(0.5), gap(0.5)), GapCause::PowerMode);
        assert_eq!(first(gap(0.5), gap(1.0)), GapCause::EndToEndRate);
        assert_eq!(first(gap(0.01), None), GapCause::MemoryPressure);
    }

    #[test]
    fn what_has_no_effect_on_what_was_measured_or_goes_the_other_way_explains_nothing() {
        let mut with = all();
        with.push(suspect(GapCause::Speculative, 0.4, [1.1, 3.0], [1.0; 2]));
        let ranked = rank(&with, [gap(0.5), None]);
        let of = |cause| ranked.causes.iter().find(|c| c.cause == cause);
        assert!(of(GapCause::MatrixUnitsOff).is_none(), "{ranked:?}");
        assert!(of(GapCause::Speculative).expect("weighed").explains < 0.01, "{ranked:?}");
        assert!(of(GapCause::PowerMode).expect("weighed").explains > 0.2, "{ranked:?}");
    }

    #[test]
    fn two_causes_act_together() {
        let ranked = rank(&all(), [gap(0.3), gap(1.0 / 9.0)]);
        let pair = ranked.together.expect("none alone");
        let causes: Vec<GapCause> = pair.iter().map(|&i| all()[i].cause).collect();
        assert!(causes.contains(&GapCause::MatrixUnitsOff), "{causes:?}");
    }

    #[test]
    fn as_predicted_is_the_first_answer_to_no_gap_and_probabilities_add_up() {
        let ranked = rank(&all(), [gap(0.98), gap(1.03)]);
        assert!(ranked.nothing > 0.8, "{ranked:?}");
        let none = rank(&[], [gap(0.2), None]);
        assert!(none.unexplained > 0.99 && none.nothing < 0.01, "{none:?}");
        let mut with = all();
        with.push(Suspect {
            included: true,
            ..suspect(GapCause::Bf16M1M2, 0.3, [0.8; 2], [0.8; 2])
        });
        let ranked = rank(&with, [gap(1.0), None]);
        assert_eq!(ranked.causes[0].cause, GapCause::Bf16M1M2);
    }
}
