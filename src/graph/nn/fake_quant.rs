//! Rounding to 8- and 4-bit floats and back, as DeepSeek-V4.1 does with the rows of its caches.

use crate::graph::op::{Binary, Reduction, Unary};
use crate::graph::shape::Shape;
use crate::graph::tape::{FrequencyTable, Tape, Var};
use crate::model::DType;

/// Splits the last axis into blocks, in float32; `None` when it does not divide.
fn blocks(t: &Tape<'_>, x: Var, size: u32) -> Option<Var> {
    let shape = t.shape(x);
    if shape.dim(-1) % size != 0 {
        return None;
    }
    let x = t.astype(x, DType::F32);
    let mut dims: Vec<i64> = shape.dims().iter().map(|&n| i64::from(n)).collect();
    dims.pop();
    dims.extend([-1, i64::from(size)]);
    Some(t.reshape(x, &dims))
}

/// The largest absolute value of every block, not below `floor`.
fn largest(t: &Tape<'_>, blocks: Var, floor: f64) -> Var {
    let x = t.reduce(Reduction::Max, t.unary(Unary::Abs, blocks), -1, true);
    t.binary(Binary::Maximum, x, floor)
}

/// The power of two at or above `x / limit`.
fn power_scale(t: &Tape<'_>, x: Var, limit: f64) -> Var {
    let x = t.unary(Unary::Ceil, t.unary(Unary::Log2, t.div(x, limit)));
    t.binary(Binary::Power, 2.0, x)
}

fn joined(t: &Tape<'_>, x: Var, shape: Shape, dtype: DType) -> Var {
    let dims: Vec<i64> = shape.dims().iter().map(|&n| i64::from(n)).collect();
    t.astype(t.reshape(x, &dims), dtype)
}

/// Rounds to e4m3 with a power-of-two scale per block of 32 (`_fake_quant_fp8`).
pub fn round_fp8(t: &Tape<'_>, x: Var) -> Var {
    let (shape, dtype) = (t.shape(x), t.dtype(x));
    let Some(blocks) = blocks(t, x, 32) else { return x };
    let scale = power_scale(t, largest(t, blocks, 1e-4), 448.0);
    let bytes = t.to_fp8(t.clip(t.div(blocks, scale), -448.0, 448.0));
    joined(t, t.mul(t.from_fp8(bytes, DType::F32), scale), shape, dtype)
}

/// How the scales of 4-bit blocks are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fp4Scale {
    /// A power of two.
    Power,
    /// An 8-bit float (e4m3).
    E4m3,
}

/// Rounds to 4-bit floats in blocks of `size` (`_fake_quant_fp4`).
pub fn round_fp4(t: &Tape<'_>, x: Var, size: u32, kind: Fp4Scale) -> Var {
    let (shape, dtype) = (t.shape(x), t.dtype(x));
    let Some(blocks) = blocks(t, x, size) else { return x };
    let floor = match kind {
        Fp4Scale::Power => 6.0 * 2.0f64.powi(-126),
        Fp4Scale::E4m3 => 6.0 * 2.0f64.powi(-9),
    };
    let peak = largest(t, blocks, floor);
    let scale = match kind {
        Fp4Scale::Power => power_scale(t, peak, 6.0),
        Fp4Scale::E4m3 => t.from_fp8(t.to_fp8(t.div(peak, 6.0)), DType::F32),
    };
    let rounded = to_fp4(t, t.clip(t.div(blocks, scale), -6.0, 6.0));
    joined(t, t.mul(rounded, scale), shape, dtype)
}

/// The nearest of the eight magnitudes of a 4-bit float: counts the thresholds below, then looks up.
fn to_fp4(t: &Tape<'_>, x: Var) -> Var {
    let magnitude = t.unary(Unary::Abs, x);
    let mut index = t.full(t.shape(magnitude), 0.0, DType::I32);
    let above = [0.25, 1.25, 2.5, 5.0].map(|limit| (Binary::Greater, limit));
    let reached = [0.75, 1.75, 3.5].map(|limit| (Binary::GreaterEqual, limit));
    for (compare, limit) in above.into_iter().chain(reached) {
        index = t.add(index, t.astype(t.binary(compare, magnitude, limit), DType::I32));
    }
    let sign = t.unary(Unary::Sign, x);
    let values = vec![0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let table = t.table(&FrequencyTable::Given { values, dtype: DType::F32 });
    t.mul(sign, t.take(table, index))
}
