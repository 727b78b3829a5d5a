//! Verdicts on several Macs in words.

use crate::estimate::cluster::Ratio;
use crate::estimate::memory::Memory;
use crate::estimate::{ClusterFigures, Parallelism};
use crate::units::Bytes;

fn times(ratio: Ratio) -> String {
    let [low, high] = ratio.interval_90;
    format!("{:.2} ({low:.2} to {high:.2})", ratio.value)
}

fn milliseconds(seconds: f64) -> String {
    let ms = seconds * 1e3;
    if ms < 10.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

/// What a token waits for.
fn waits(figures: &ClusterFigures, parallelism: Parallelism) -> String {
    let w = figures.wait;
    let [low, middle, high] = [w.low, w.middle, w.high].map(milliseconds);
    let exchanges = match (parallelism, figures.exchanges) {
        (Parallelism::Tensor, n) => format!("{n} sums over all Macs"),
        (Parallelism::Pipeline, 1) => "the step to the next Mac".to_owned(),
        (Parallelism::Pipeline, n) => format!("{n} steps to the next Mac"),
    };
    format!("every token waits {middle} ms ({low} to {high}) in {exchanges}")
}

fn probably(ratio: Ratio) -> &'static str {
    let [low, high] = ratio.interval_90;
    if low < 1.0 && high > 1.0 { "probably " } else { "" }
}

/// Faster than one Mac.
pub(super) fn faster(figures: &ClusterFigures) -> String {
    let ratio = figures.decode_speedup;
    format!(
        "{}faster than one Mac, {} times as fast: {}",
        probably(ratio),
        times(ratio),
        waits(figures, Parallelism::Tensor)
    )
}

/// Slower than one Mac.
pub(super) fn slower(figures: &ClusterFigures, parallelism: Parallelism) -> String {
    let ratio = figures.decode_speedup;
    let why = match parallelism {
        Parallelism::Tensor => "more than it gains by dividing",
        Parallelism::Pipeline => {
            "and visits the Macs one after another, so that dividing gains it nothing"
        }
    };
    format!(
        "{}slower than one Mac, {} of its speed: {}, {why}",
        probably(ratio),
        times(ratio),
        waits(figures, parallelism)
    )
}

/// As fast as one Mac.
pub(super) fn alike(figures: &ClusterFigures, parallelism: Parallelism) -> String {
    format!(
        "about as fast as one Mac, {} of its speed: {}",
        times(figures.decode_speedup),
        waits(figures, parallelism)
    )
}

/// It fits, and one Mac does not hold it.
pub(super) fn possible(figures: &ClusterFigures, parallelism: Parallelism) -> String {
    format!("one Mac does not hold it; {}", waits(figures, parallelism))
}

/// It does not fit.
pub(super) fn too_large(memories: &[&Memory]) -> String {
    let limit = super::worst(memories).and_then(|(_, limit)| limit);
    let each = if memories.len() > 1 { " on each Mac" } else { "" };
    match limit {
        Some(limit) => format!(
            "does not fit: {} needed{each}, {} {} allowed",
            limit.need_bytes,
            limit.limit_bytes,
            limit.kind.name()
        ),
        None => {
            let peak = memories.iter().map(|m| m.peak.peak_bytes).max().unwrap_or(0);
            format!("does not fit: {} needed{each}", Bytes(peak))
        }
    }
}
