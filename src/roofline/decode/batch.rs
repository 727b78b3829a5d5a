//! Time of products with matrices for one sequence or several.

use super::Rates;
use crate::roofline::features::{Coding, Matrices, MatrixRole};

/// Seconds of all launches of a group of equal products for `batch` rows, and whether arithmetic sets the pace.
///
/// One row: bytes on the bus or weights to unpack, whichever takes longer. Several rows read a matrix once and unpack it
/// for every row, until a matrix kernel, bound by arithmetic, is faster. Experts are read once per distinct expert.
pub(super) fn matrix_seconds(m: &Matrices, rates: &Rates, batch: f64) -> (f64, bool) {
    let distinct = match m.part {
        MatrixRole::Expert => m.distinct_experts(batch) / m.chosen.max(1) as f64,
        MatrixRole::Layer | MatrixRole::Head => 1.0,
    };
    let bus = distinct * m.bytes / rates.stream;
    let unpacking = match m.coding {
        Coding::Plain => 0.0,
        Coding::Grouped => m.weights / rates.unpack,
        Coding::Simple => m.weights / rates.unpack_simple,
    };
    let alone = bus.max(unpacking);
    let busy = if batch > 1.0 {
        let few_rows = bus.max(batch * unpacking);
        let many_rows = bus + bus.max(2.0 * batch * m.weights / rates.flops);
        few_rows.min(many_rows).max(alone)
    } else {
        alone
    };
    (m.launches * busy.hypot(rates.latency), busy > bus)
}
