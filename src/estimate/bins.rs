//! Speeds of a machine of which chip and memory are known, but not the bin: the range over its bins.
//!
//! The figure is the middle between the slowest and the fastest bin, and the intervals span those of all bins.

use super::speed::{AtDepth, Decode, Prefill, Term};
use super::widening::{Cause, Of, Widening};
use crate::hardware::machine::Machine;

/// Where the factor of unknown bins comes from.
const SPAN: &str = "the intervals of all bins together, over the widest of them";

/// The ids of the bins that a machine may have, in words: `m1max-24 or m1max-32`.
fn names(machine: &Machine) -> String {
    let ids: Vec<&str> = machine.bins.iter().filter_map(|b| b.chip.as_deref()).collect();
    ids.join(" or ")
}

/// The lowest and the highest of some values.
fn ends(values: impl Iterator<Item = f64>) -> [f64; 2] {
    values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)])
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let [low, high] = ends(values);
    low.midpoint(high)
}

/// From the lowest lower end to the highest upper end.
fn span(intervals: impl Iterator<Item = [f64; 2]> + Clone) -> [f64; 2] {
    let [low, _] = ends(intervals.clone().map(|i| i[0]));
    let [_, high] = ends(intervals.map(|i| i[1]));
    [low, high]
}

/// The widening that spanning the bins amounts to.
fn widening(
    machine: &Machine,
    of: Of,
    spanned: [f64; 2],
    each: impl Iterator<Item = [f64; 2]>,
) -> Widening {
    let width = |[low, high]: [f64; 2]| (high / low).ln();
    let widest = each.map(width).fold(f64::MIN_POSITIVE, f64::max);
    let factor = width(spanned) / widest;
    Widening { of, cause: Cause::Bins(names(machine)), factor, source: SPAN }
}

/// The same of the seconds of a training iteration.
pub(super) fn training(
    machine: &Machine,
    spanned: [f64; 2],
    each: impl Iterator<Item = [f64; 2]>,
) -> Widening {
    widening(machine, Of::Training, spanned, each)
}

/// Where time goes, of terms that add up to another time.
fn scaled(terms: Vec<Term>, factor: f64) -> Vec<Term> {
    terms.into_iter().map(|t| Term { seconds: t.seconds * factor, ..t }).collect()
}

/// The decode speed of a machine by those of its bins, of which there is at least one. The first gives what is no figure.
pub(super) fn decode(machine: &Machine, all: &[Decode]) -> Decode {
    let mut one = all[0].clone();
    let was = one.seconds_per_token;
    let batch = one.tokens_per_s * was;
    one.tokens_per_s = middle(all.iter().map(|d| d.tokens_per_s));
    one.seconds_per_token = batch / one.tokens_per_s;
    one.terms = scaled(one.terms, one.seconds_per_token / was);
    one.interval_80 = span(all.iter().map(|d| d.interval_80));
    one.interval_90 = span(all.iter().map(|d| d.interval_90));
    let each = all.iter().map(|d| d.interval_90);
    one.widenings.push(widening(machine, Of::Decode, one.interval_90, each));
    one.warnings.extend(super::warning::of_widenings(&one.widenings[one.widenings.len() - 1..]));
    one
}

/// The prefill speed of a machine by those of its bins, as [`decode`].
pub(super) fn prefill(machine: &Machine, all: &[Prefill]) -> Prefill {
    let mut one = all[0].clone();
    let was = one.tokens_per_s;
    one.tokens_per_s = middle(all.iter().map(|p| p.tokens_per_s));
    one.ttft_s = middle(all.iter().map(|p| p.ttft_s));
    let others: Vec<Prefill> =
        all.iter().filter_map(|p| p.without_units.as_deref().cloned()).collect();
    one.without_units = (others.len() == all.len()).then(|| Box::new(prefill(machine, &others)));
    one.terms = scaled(one.terms, was / one.tokens_per_s);
    one.interval_80 = span(all.iter().map(|p| p.interval_80));
    one.interval_90 = span(all.iter().map(|p| p.interval_90));
    let each = all.iter().map(|p| p.interval_90);
    one.widenings.push(widening(machine, Of::Prefill, one.interval_90, each));
    one
}

/// Spans the decode speeds of all files whose weights are in a range of those that were traced: a step reads them.
pub(super) fn over_files(decode: &mut Decode, range: [f64; 2]) {
    let before = decode.interval_90;
    let wider = |[low, high]: [f64; 2]| [low / range[1].max(1.0), high / range[0].min(1.0)];
    decode.interval_80 = wider(decode.interval_80);
    decode.interval_90 = wider(decode.interval_90);
    let width = |[low, high]: [f64; 2]| (high / low).ln().max(f64::MIN_POSITIVE);
    let factor = width(decode.interval_90) / width(before);
    let source = "bytes of published files of the kind";
    decode.widenings.push(Widening { of: Of::Decode, cause: Cause::Weights, factor, source });
}

/// The speeds at depths of a machine by those of its bins: of each bin in the same order.
pub(super) fn at_depths(all: &[Vec<AtDepth>]) -> Vec<AtDepth> {
    let Some(first) = all.first() else { return Vec::new() };
    let at = |(i, at): (usize, &AtDepth)| {
        let of_bins = all.iter().filter_map(|bin| Some(bin.get(i)?.tokens_per_s));
        AtDepth { tokens_per_s: middle(of_bins), ..*at }
    };
    first.iter().enumerate().map(at).collect()
}

#[cfg(test)]
mod tests {
    use crate::estimate::Estimator;
    use crate::hardware::{Macs, spec};
    use crate::model::Scheme;
    use crate::roofline::Coefficients;
    use crate::run::Run;

    #[test]
    fn speeds_span_the_bins_and_memory_does_not() {
        let models = crate::model::catalog::Models::built_in().expect("the built-in catalog");
        let entry = models.get("Qwen/Qwen3-0.6B").expect("known").entry().expect("readable");
        let graph = crate::graph::Graph::quantized(&entry.config, Scheme::DEFAULT).expect("known");
        let coefficients = Coefficients::embedded().expect("built in");
        let run = Run::default().with_context(512);
        let estimator = Estimator::of_graph(coefficients, &graph, run).with_depths(&[0, 1024]);
        let macs = Macs::embedded();
        let at = |text: &str| {
            let machine = spec::resolve(text, &macs).expect("a Mac");
            estimator.at(&machine).expect("a prediction")
        };
        let (all, slow, fast) = (at("M3 Max 48GB"), at("m3max-40/48"), at("m3max-40/48"));
        assert_eq!(all.decode, fast.decode, "one bin has 48 GB");
        assert_eq!(slow.decode, fast.decode);
        let (all, slow, fast) = (at("M1 Max 32GB"), at("m1max-24/32"), at("m1max-32/32"));
        let [low, high] = all.decode.interval_90;
        assert!((low - slow.decode.interval_90[0].min(fast.decode.interval_90[0])).abs() < 1e-9);
        assert!((high - fast.decode.interval_90[1].max(slow.decode.interval_90[1])).abs() < 1e-9);
        let middle = slow.decode.tokens_per_s.midpoint(fast.decode.tokens_per_s);
        assert!((all.decode.tokens_per_s - middle).abs() < 1e-9);
        let terms: f64 = all.decode.terms.iter().map(|t| t.seconds).sum();
        assert!((terms - all.decode.seconds_per_token).abs() < 1e-12);
        assert!(
            slow.prefill.ttft_s > all.prefill.ttft_s && all.prefill.ttft_s > fast.prefill.ttft_s
        );
        assert!(slow.at_depth[1].tokens_per_s <= all.at_depth[1].tokens_per_s);
        let peak = |p: &crate::estimate::Prediction| {
            p.memory.as_ref().map(|m| (m.peak.peak_bytes, m.judgment.verdict))
        };
        assert_eq!(peak(&all), peak(&slow));
        assert_eq!(all.context, fast.context);
        assert!(all.warnings.iter().any(|w| w.to_string().contains("m1max-24 or m1max-32")));
        assert!(all.widenings().any(|w| w.factor > 1.0 && w.cause.to_string().contains("bin")));
    }
}
