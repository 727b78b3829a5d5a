//! Experts that are read from the SSD, in words.

use crate::estimate::{StreamedExperts, StreamingBound};
use crate::units::TokensPerSecond;

/// Adds what streaming the experts would come to.
pub(super) fn add(add: &mut impl FnMut(&str, String), s: &StreamedExperts) {
    let rate = TokensPerSecond;
    let [low, high] = s.tokens_per_s_range.map(rate);
    add(
        "streamed",
        format!(
            "{} tok/s, {low}–{high}, in an engine that reads experts from the SSD, which mlx-lm does not (assumption)",
            rate(s.tokens_per_s)
        ),
    );
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let [even, local] = s.hit_rate.map(percent);
    let [slow, fast] = s.ssd_bytes_per_s.map(|rate| rate / 1e9);
    let [least, _, most] = s.wait_s.map(|seconds| seconds * 1e3);
    let bound = match s.bound {
        StreamingBound::Ssd => "the SSD decides",
        StreamingBound::Layers => "the wait in every layer decides",
        StreamingBound::Step => "the step itself decides",
    };
    add(
        "",
        format!(
            "memory holds {} of the experts, so that {even} to {local} of the {} that a token chooses are there; the rest \
             comes from the SSD at {slow:.1} to {fast:.1} GB/s, and each of {} layers waits {least:.1} to {most:.0} ms for \
             the CPU; {bound}",
            percent(s.resident_share),
            s.expert_bytes_per_token,
            s.layers
        ),
    );
    add("", "this is not swapping: there, macOS pages whatever a step touches, without knowing what comes next".to_owned());
}
