//! Runs of this very model, program and machine as a basis.
//!
//! At the lengths that were measured, the rate is the measured one. Elsewhere the ratio of measured to predicted rate is
//! carried over: between two measured lengths in proportion, beyond them that of the nearest. What was measured of the
//! model itself is taken whole, not shrunk towards the law: what is left of the law's error there is the noise of the
//! trials, while cross-validation shrinks only what other models of the same owner tell.

use crate::calibration::evidence::PredictedRate;
use crate::estimate::widening::{Cause, Of, SLOPE, Widening, factor};
use crate::hardware::machine::Machine;
use crate::run::Work;

/// Standard deviation of the logarithm of a rate from one session on a machine to another. Source: repeats of one
/// laptop, coefficient of variation 3.4 %.
pub const SESSION: f64 = 0.034;
/// The least error of a median of trials: what they repeat to within a session.
const LEAST: f64 = 0.002;

const SESSION_SOURCE: &str = "one laptop in several sessions: coefficient of variation 3.4 %";
const CARRIED_SOURCE: &str = "25 measured series over depth: the time that each token adds lies off the law by a log s.d. of \
                              0.41; that of prompts is taken to be as far off";

/// A rate that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnRun {
    /// What tells it from others: where it was read and what was measured.
    pub id: String,
    /// Id of the chip's bin that it was measured on, such as `m4max-40`.
    pub chip: String,
    /// Memory of that machine in GiB.
    pub memory_gib: u64,
    /// Which speed.
    pub of: Of,
    /// Prompt, output and sequences.
    pub work: Work,
    /// Tokens per second: the median of the trials.
    pub rate: f64,
    /// Standard deviation of the logarithm of that median; `None` where there were too few trials to tell.
    pub log_error: Option<f64>,
}

/// Runs of one model and program; those of a machine count for that machine alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnRuns(Vec<OwnRun>);

/// What own runs make of a predicted rate.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::estimate) struct RunAnchor {
    /// Measured over predicted rate.
    pub ratio: f64,
    /// Standard deviation of the logarithm by the trials alone.
    log_error: f64,
    /// Why the interval is wider than that.
    pub widenings: Vec<Widening>,
    /// The runs.
    pub ids: Vec<String>,
}

/// Runs of the very model, program and machine behind a prediction, and the prediction without them.
#[derive(Clone, Debug)]
pub struct OwnRunsUsed {
    /// The runs.
    pub ids: Vec<String>,
    /// Decode without them, where they shifted it.
    pub decode: Option<PredictedRate>,
    /// Prefill without them, where they shifted it.
    pub prefill: Option<PredictedRate>,
}

/// The runs of one length.
struct Measured {
    length: f64,
    log_ratio: f64,
    variance: f64,
    /// Seconds of a token by the law.
    seconds: f64,
}

impl OwnRuns {
    /// Of some runs; those without a positive rate say nothing.
    #[must_use]
    pub fn new(runs: Vec<OwnRun>) -> Self {
        Self(runs.into_iter().filter(|r| r.rate.is_finite() && r.rate > 0.0).collect())
    }

    /// The runs.
    #[must_use]
    pub fn runs(&self) -> &[OwnRun] {
        &self.0
    }

    /// Those of a machine.
    #[must_use]
    pub fn on(&self, machine: &Machine) -> Self {
        let gib = machine.memory.value.0 >> 30;
        let here = |r: &&OwnRun| Some(&r.chip) == machine.chip.as_ref() && r.memory_gib == gib;
        Self(self.0.iter().filter(here).cloned().collect())
    }

    /// What the runs make of a rate of so many sequences, where `predicted` is the rate of a work by the law; `None`
    /// where none is of that speed and number of sequences.
    pub(in crate::estimate) fn anchor(
        &self,
        of: Of,
        asked: &Work,
        predicted: impl Fn(&Work) -> f64,
    ) -> Option<RunAnchor> {
        let mine: Vec<&OwnRun> =
            self.0.iter().filter(|r| r.of == of && r.work.batch == asked.batch).collect();
        let points = by_length(of, &mine, &predicted);
        let (length, seconds) = (length(of, asked), predicted(asked).recip());
        let (log_ratio, variance, near) = at(&points, length)?;
        let log_error = variance.sqrt().max(LEAST);
        let carried = SLOPE * (seconds - near.seconds).abs() / seconds;
        let mut widenings = Vec::new();
        let mut sd = log_error;
        let carry = Cause::Carried { tokens: length as u32, measured: near.length as u32 };
        for (cause, added, source) in
            [(Cause::Session, SESSION, SESSION_SOURCE), (carry, carried, CARRIED_SOURCE)]
        {
            let wider = sd.hypot(added);
            if wider > sd * (1.0 + 1e-6) {
                widenings.push(Widening { of, cause, factor: wider / sd, source });
            }
            sd = wider;
        }
        let ids = mine.iter().map(|r| r.id.clone()).collect();
        Some(RunAnchor { ratio: log_ratio.exp(), log_error, widenings, ids })
    }
}

impl RunAnchor {
    /// The rate in the place of a predicted one.
    pub fn rate(&self, predicted: f64) -> PredictedRate {
        PredictedRate::new(predicted * self.ratio, self.log_error * factor(&self.widenings))
    }

    /// What the rate rests on, in words.
    pub fn text(&self) -> String {
        format!("measured here: {}", self.ids.join("; "))
    }
}

/// Tokens that decide a speed: in the cache in the middle of the output, or of the prompt.
fn length(of: Of, work: &Work) -> f64 {
    let prompt = f64::from(work.context_tokens);
    match of {
        Of::Decode => prompt + f64::from(work.generate_tokens) / 2.0,
        Of::Prefill | Of::Training => prompt,
    }
}

/// The runs by length, those of the same length joined by their precision.
fn by_length(of: Of, runs: &[&OwnRun], predicted: &impl Fn(&Work) -> f64) -> Vec<Measured> {
    let mut all: Vec<Measured> = runs
        .iter()
        .map(|r| {
            let rate = predicted(&r.work);
            let error = r.log_error.unwrap_or(SESSION).max(LEAST);
            let (log_ratio, variance) = ((r.rate / rate).ln(), error * error);
            Measured { length: length(of, &r.work), log_ratio, variance, seconds: rate.recip() }
        })
        .collect();
    all.sort_by(|a, b| a.length.total_cmp(&b.length));
    all.into_iter().fold(Vec::new(), |mut joined: Vec<Measured>, m| {
        match joined.last_mut().filter(|last| last.length == m.length) {
            Some(last) => {
                let [a, b] = [last.variance.recip(), m.variance.recip()];
                last.log_ratio = (a * last.log_ratio + b * m.log_ratio) / (a + b);
                last.variance = (a + b).recip();
            }
            None => joined.push(m),
        }
        joined
    })
}

/// The logarithm of the ratio at a length, its variance, and the nearest measured length.
fn at(points: &[Measured], length: f64) -> Option<(f64, f64, &Measured)> {
    let above = points.partition_point(|p| p.length < length);
    let (Some(low), Some(high)) = (above.checked_sub(1).map(|i| &points[i]), points.get(above))
    else {
        let near = points.get(above).or(points.last())?;
        return Some((near.log_ratio, near.variance, near));
    };
    let part = (length - low.length) / (high.length - low.length);
    let near = if part < 0.5 { low } else { high };
    let log_ratio = low.log_ratio + part * (high.log_ratio - low.log_ratio);
    let variance = (1.0 - part).powi(2) * low.variance + part.powi(2) * high.variance;
    Some((log_ratio, variance, near))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::{Macs, spec};

    fn work(context_tokens: u32) -> Work {
        Work { context_tokens, generate_tokens: 0, ..Work::default() }
    }

    fn run(context: u32, rate: f64) -> OwnRun {
        let id = format!("at {context}");
        let (chip, memory_gib) = ("m4max-40".to_owned(), 64);
        let log_error = Some(0.01);
        OwnRun { id, chip, memory_gib, of: Of::Decode, work: work(context), rate, log_error }
    }

    /// A law in which a token takes 10 ms and 1 µs for each token in the cache.
    fn law(w: &Work) -> f64 {
        (0.01 + 1e-6 * f64::from(w.context_tokens)).recip()
    }

    fn width(anchor: &RunAnchor) -> f64 {
        let [low, high] = anchor.rate(100.0).interval_90;
        high / low
    }

    #[test]
    fn at_a_measured_length_the_rate_is_the_measured_one() {
        let own = OwnRuns::new(vec![run(1000, 70.0), run(9000, 50.0)]);
        for (context, rate) in [(1000, 70.0), (9000, 50.0)] {
            let anchor = own.anchor(Of::Decode, &work(context), law).expect("runs");
            let found = anchor.rate(law(&work(context)));
            assert!((found.rate - rate).abs() < 1e-9, "{found:?}");
            let causes: Vec<&Cause> = anchor.widenings.iter().map(|w| &w.cause).collect();
            assert_eq!(causes, [&Cause::Session], "nothing is carried");
        }
    }

    #[test]
    fn the_ratio_is_carried_and_the_interval_grows_with_what_is_carried() {
        let own = OwnRuns::new(vec![run(1000, 0.8 * law(&work(1000)))]);
        let widths: Vec<f64> = [1000, 2000, 8000, 64_000]
            .map(|context| {
                let anchor = own.anchor(Of::Decode, &work(context), law).expect("runs");
                assert!((anchor.ratio - 0.8).abs() < 1e-12);
                width(&anchor)
            })
            .to_vec();
        assert!(widths.is_sorted_by(|a, b| a < b), "{widths:?}");
        // Far away nearly all of the time is not measured.
        let all = (2.0 * crate::stats::Z90 * SLOPE).exp();
        assert!(widths[3] > 0.6 * all && widths[3] < 1.1 * all, "{widths:?} {all}");
    }

    #[test]
    fn runs_count_for_the_machine_they_were_made_on() {
        let own = OwnRuns::new(vec![run(1000, 70.0)]);
        let on = |mac| own.on(&spec::resolve(mac, &Macs::embedded()).expect("a Mac")).runs().len();
        assert_eq!(["m4max-40/64", "m4max-40/128", "m4max-32/36"].map(on), [1, 0, 0]);
    }

    #[test]
    fn runs_of_one_length_are_joined_and_others_do_not_count() {
        let own = OwnRuns::new(vec![run(1000, 70.0), run(1000, 72.0), run(2000, f64::NAN)]);
        assert_eq!(own.runs().len(), 2);
        let one = OwnRuns::new(vec![run(1000, 71.0)]);
        let joined = own.anchor(Of::Decode, &work(1000), law).expect("runs");
        let single = one.anchor(Of::Decode, &work(1000), law).expect("runs");
        assert!((joined.ratio / single.ratio - 1.0).abs() < 1e-3);
        assert!(width(&joined) < width(&single));
        assert_eq!(joined.ids.len(), 2);
        assert_eq!(own.anchor(Of::Prefill, &work(1000), law), None);
        let two = Work { batch: 2, ..work(1000) };
        assert_eq!(own.anchor(Of::Decode, &two, law), None);
    }
}
