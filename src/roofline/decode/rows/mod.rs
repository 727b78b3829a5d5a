//! Time of products with matrices for several rows: sequences decoded together, or drafts to verify.
//!
//! ```text
//! one row        max(bytes / stream, weights / unpack)
//! few rows       (bus^5 + arithmetic^5)^(1/5)          arithmetic = rows × weights / rate
//! from a limit   max(bus, arithmetic of whole tiles)   10 rows take as long as 32
//! experts        max(bytes of distinct experts / stream, pairs of row and expert × weights / rate)
//! ```
//! Each with the latency of a launch behind it. What the kernels are, and from how many rows they change, hangs on the
//! chip, on the size of the matrix and on the version of MLX ([`RowKernels`]). More rows are never taken to be faster.

mod kernels;
mod parameters;

pub use kernels::{RowKernels, WIDE_SINCE};
pub(super) use parameters::{NARROW, ULTRA, WIDE, server_cost};

use super::Rates;
use crate::roofline::features::{Coding, Matrices, MatrixRole};
use parameters::{
    FLOAT_TILE, FLOAT_TILE_FRACTION, FLOAT_WIDE, SMOOTHNESS, TILE, TILE_FRACTION, UNIT_FRACTION,
    UNIT_SMALL_FRACTION, UNIT_SMALL_TILE,
};

/// Seconds of all launches of a group of equal products for `rows` rows, and whether arithmetic sets the pace.
pub(super) fn matrix_seconds(m: &Matrices, rates: &Rates, rows: f64) -> (f64, bool) {
    let one = RowProduct { m, rates, bus: m.bytes / rates.stream };
    let (busy, arithmetic) = if rows <= 1.0 {
        (one.alone(), one.unpacking() > one.bus)
    } else {
        let (busy, arithmetic) = match (m.part, m.coding) {
            (MatrixRole::Expert, _) => one.experts(rows),
            (_, Coding::Plain) => one.float(rows),
            _ => one.quantized(rows),
        };
        (busy.max(one.alone()), arithmetic)
    };
    (m.launches * busy.hypot(rates.latency), arithmetic)
}

/// One product on a machine.
struct RowProduct<'a> {
    m: &'a Matrices,
    rates: &'a Rates,
    /// Seconds to read the weights of one row.
    bus: f64,
}

impl RowProduct<'_> {
    /// Seconds to unpack the weights once with the kernel for one row.
    fn unpacking(&self) -> f64 {
        match self.m.coding {
            Coding::Plain => 0.0,
            Coding::Grouped => self.m.weights / self.rates.unpack,
            Coding::Simple => self.m.weights / self.rates.unpack_simple,
        }
    }

    /// Seconds of one row.
    fn alone(&self) -> f64 {
        self.bus.max(self.unpacking())
    }

    /// Seconds of arithmetic for one row in a kernel for few rows: as for one on chips whose kernel repeats itself for
    /// every row.
    fn row(&self, wide: bool) -> f64 {
        let rates = self.rates;
        let rate = if wide { rates.wide } else { rates.narrow };
        rate.map_or_else(|| self.unpacking(), |rate| self.m.weights / rate)
    }

    /// Seconds of the arithmetic of a matrix kernel, which works on whole tiles of rows.
    fn tiles(&self, rows: f64) -> f64 {
        let operations = 2.0 * self.m.weights / self.rates.peak;
        if self.rates.matrix_units {
            operations * (UNIT_SMALL_TILE / UNIT_SMALL_FRACTION).max(rows / UNIT_FRACTION)
        } else {
            operations * (rows / TILE).ceil() * TILE / TILE_FRACTION
        }
    }

    fn quantized(&self, rows: f64) -> (f64, bool) {
        let kernels = &self.rates.kernels;
        let limit = kernels.matrix_from(self.m.inner, self.m.outer);
        let row = self.row(kernels.wide(self.m.coding));
        let few = |rows: f64| {
            let arithmetic = rows * row;
            let both = self.bus.powf(SMOOTHNESS) + arithmetic.powf(SMOOTHNESS);
            (both.powf(1.0 / SMOOTHNESS), arithmetic > self.bus)
        };
        if rows < limit {
            return few(rows);
        }
        let (before, slow_before) = few(limit - 1.0);
        let arithmetic = self.tiles(rows);
        if arithmetic > before {
            (arithmetic.max(self.bus), arithmetic > self.bus)
        } else {
            (before, slow_before)
        }
    }

    fn float(&self, rows: f64) -> (f64, bool) {
        let kernels = &self.rates.kernels;
        if rows < kernels.float_matrix_from() {
            return (FLOAT_WIDE * self.bus, false);
        }
        let tiles = (rows / FLOAT_TILE).ceil() * FLOAT_TILE / FLOAT_TILE_FRACTION;
        let arithmetic = 2.0 * self.m.weights * tiles / self.rates.peak;
        let bus = 2.0 * self.bus;
        (bus.max(arithmetic), arithmetic > bus)
    }

    /// Chosen experts: the bus for every distinct one, since pairs are sorted, and arithmetic for every pair, until there
    /// are enough of them for a matrix kernel.
    fn experts(&self, rows: f64) -> (f64, bool) {
        let chosen = self.m.chosen.max(1) as f64;
        let bus = self.m.distinct_experts(rows) / chosen * self.bus;
        let limit = RowKernels::experts_matrix_from(self.m.experts, chosen);
        let few = match self.m.coding {
            Coding::Plain => 2.0 * self.m.weights / (FLOAT_TILE_FRACTION * self.rates.peak),
            Coding::Grouped | Coding::Simple => self.row(false),
        };
        let mut arithmetic = rows.min(limit) * few;
        if rows > limit {
            let fraction = if self.rates.matrix_units { UNIT_FRACTION } else { TILE_FRACTION };
            arithmetic = arithmetic.max(2.0 * rows * self.m.weights / (fraction * self.rates.peak));
        }
        (bus.max(arithmetic), arithmetic > bus)
    }
}

#[cfg(test)]
mod tests;
