//! Rounding to 8- and 4-bit floats and back, as DeepSeek-V4.1 does with the rows of its caches.

use crate::graph::op::{Binary, Reduction};
use crate::graph::shape::Shape;
use crate::graph::tape::{FrequencyTable, Var};
use crate::model::DType;

/// Splits the last axis into blocks, in float32; `None` when it does not divide.
fn blocks(x: Var<'_>, size: u32) -> Option<Var<'_>> {
    let shape = x.shape();
    if shape.dim(-1) % size != 0 {
        return None;
    }
    let x = x.astype(DType::F32);
    let mut dims = shape.signed();
    dims.pop();
    dims.extend([-1, i64::from(size)]);
    Some(x.reshape(&dims))
}

/// The largest absolute value of every block, not below `floor`.
fn largest(blocks: Var<'_>, floor: f64) -> Var<'_> {
    blocks.abs().reduce(Reduction::Max, -1, true).maximum(floor)
}

/// The power of two at or above `x / limit`.
fn power_scale(x: Var<'_>, limit: f64) -> Var<'_> {
    let x = (x / limit).log2().ceil();
    x.tape().binary(Binary::Power, 2.0, x)
}

fn joined(x: Var<'_>, shape: Shape, dtype: DType) -> Var<'_> {
    let dims = shape.signed();
    x.reshape(&dims).astype(dtype)
}

/// Rounds to e4m3 with a power-of-two scale per block of 32 (`_fake_quant_fp8`).
pub fn round_fp8(x: Var<'_>) -> Var<'_> {
    let (shape, dtype) = (x.shape(), x.dtype());
    let Some(blocks) = blocks(x, 32) else { return x };
    let scale = power_scale(largest(blocks, 1e-4), 448.0);
    let bytes = (blocks / scale).clip(-448.0, 448.0).to_fp8();
    joined(bytes.from_fp8(DType::F32) * scale, shape, dtype)
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
pub fn round_fp4(x: Var<'_>, size: u32, kind: Fp4Scale) -> Var<'_> {
    let (shape, dtype) = (x.shape(), x.dtype());
    let Some(blocks) = blocks(x, size) else { return x };
    let floor = match kind {
        Fp4Scale::Power => 6.0 * 2.0f64.powi(-126),
        Fp4Scale::E4m3 => 6.0 * 2.0f64.powi(-9),
    };
    let peak = largest(blocks, floor);
    let scale = match kind {
        Fp4Scale::Power => power_scale(peak, 6.0),
        Fp4Scale::E4m3 => (peak / 6.0).to_fp8().from_fp8(DType::F32),
    };
    let rounded = to_fp4((blocks / scale).clip(-6.0, 6.0));
    joined(rounded * scale, shape, dtype)
}

/// The nearest of the eight magnitudes of a 4-bit float: counts the thresholds below, then looks up.
fn to_fp4(x: Var<'_>) -> Var<'_> {
    let t = x.tape();
    let magnitude = x.abs();
    let mut index = t.full(magnitude.shape(), 0.0, DType::I32);
    let above = [0.25, 1.25, 2.5, 5.0].map(|limit| (Binary::Greater, limit));
    let reached = [0.75, 1.75, 3.5].map(|limit| (Binary::GreaterEqual, limit));
    for (compare, limit) in above.into_iter().chain(reached) {
        index = index + t.binary(compare, magnitude, limit).astype(DType::I32);
    }
    let sign = x.sign();
    let values = vec![0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let table = t.table(&FrequencyTable::Given { values, dtype: DType::F32 });
    sign * table.take(index)
}
