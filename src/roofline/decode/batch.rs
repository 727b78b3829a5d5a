//! Time of products with matrices for one sequence or several.

use super::{Rates, distinct_experts};
use crate::roofline::features::{Coding, Matrices, Part};

/// Seconds of all launches of a group of equal products for `batch` rows, and whether arithmetic sets the pace.
///
/// One row: bytes on the bus or weights to decode, whichever takes longer. Several rows read a matrix once and decode it
/// for every row, until a matrix kernel, bound by arithmetic, is faster. Experts are read once per distinct expert.
pub(super) fn matrix_seconds(m: &Matrices, rates: &Rates, batch: f64) -> (f64, bool) {
    let distinct = match m.part {
        Part::Expert => distinct_experts(m, batch) / m.chosen.max(1) as f64,
        Part::Layer | Part::Head => 1.0,
    };
    let bus = distinct * m.bytes / rates.stream;
    let decoding = match m.coding {
        Coding::Plain => 0.0,
        Coding::Grouped | Coding::Simple => m.weights / rates.decode,
    };
    let alone = bus.max(decoding);
    let few_rows = bus.max(batch * decoding);
    let many_rows = bus + bus.max(2.0 * batch * m.weights / rates.flops);
    let seconds = few_rows.min(many_rows).max(alone);
    (m.launches * seconds, seconds > bus)
}
