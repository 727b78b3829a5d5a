//! Gradients of matrix products and convolutions.

use super::recorded::Recorded;
use crate::graph::op::{Op, Training};
use crate::graph::shape::{Axes, Shape};
use crate::graph::tape::Var;
use crate::graph::tape::linalg::Packed;
use crate::model::{DType, Packing};

/// Of input `i` of `a @ b` or `a @ b + c`.
pub(super) fn matmul<'t>(r: &Recorded<'t>, i: usize) -> Var<'t> {
    let (a, b, g) = (r.inputs[0], r.inputs[1], r.g());
    match i {
        0 => g.matmul(b.swapaxes(-1, -2)),
        1 => a.swapaxes(-1, -2).matmul(g),
        _ => g,
    }
}

/// The packed matrix among the inputs of a product.
fn packed<'t>(r: &Recorded<'t>, packing: Packing) -> Packed<'t> {
    let biases = packing.has_biases().then(|| r.inputs[3]);
    Packed { weight: r.inputs[1], scales: r.inputs[2], biases, packing }
}

/// Of `x`: a product with the matrix the other way around.
pub(super) fn quantized<'t>(r: &Recorded<'t>, packing: Packing, transpose: bool) -> Var<'t> {
    r.g().quantized_matmul(packed(r, packing), !transpose)
}

pub(super) fn gathered_quantized<'t>(
    r: &Recorded<'t>,
    packing: Packing,
    transpose: bool,
    sorted: bool,
) -> Var<'t> {
    let [left, right] = [r.inputs[r.inputs.len() - 2], r.inputs[r.inputs.len() - 1]];
    let (g, x) = (r.g(), r.x());
    let w = packed(r, packing);
    let mut weights = vec![w.weight, w.scales];
    weights.extend(w.biases);
    let op = Op::GatherQmm { packing, transpose: !transpose, sorted };
    let dx = g.tape().gathered(op, g, &weights, right, x.dim(-1), g.dtype());
    onto_rows(x, dx, [left, right], sorted)
}

/// The gradients of the rows of `x`, one for each pair of row and matrix, added up per row.
fn onto_rows<'t>(x: Var<'t>, dx: Var<'t>, [left, right]: [Var<'t>; 2], sorted: bool) -> Var<'t> {
    let pairs = right.shape().elements() * u64::from(dx.dim(-2)) * u64::from(x.dim(-1));
    if sorted && pairs == x.shape().elements() {
        return dx;
    }
    let rows = x.zeros_like().flatten(0, -3);
    added(rows, left, dx.expand_dims(&[-3])).reshape(&x.shape().signed())
}

/// `scatter_add` along the first axis.
fn added<'t>(to: Var<'t>, at: Var<'t>, new: Var<'t>) -> Var<'t> {
    let op = Op::Training(Training::ScatterAdd(Axes::new([0])));
    to.tape().push(op, &[to, at, new], to.shape(), to.dtype())
}

/// Of input `i` of gathered products of plain matrices.
pub(super) fn gathered<'t>(r: &Recorded<'t>, i: usize, sorted: bool) -> Var<'t> {
    let [a, b, left, right] = [r.inputs[0], r.inputs[1], r.inputs[2], r.inputs[3]];
    let g = r.g();
    let t = g.tape();
    if i == 0 {
        let op = Op::GatherMm { sorted };
        let da = t.gathered(op, g, &[b.swapaxes(-1, -2)], right, a.dim(-1), g.dtype());
        return onto_rows(a, da, [left, right], sorted);
    }
    let (k, n, matrices) = (a.dim(-1), b.dim(-1), b.dim(0));
    let shape = Shape::new(&[matrices, n, k]);
    let dw = if sorted {
        let segments = segments(matrices, a.dim(-2), right);
        let inputs = [g.flatten(0, -2).swapaxes(0, 1), a.flatten(0, -2), segments];
        t.push(Op::Training(Training::SegmentedMm), &inputs, shape, g.dtype())
    } else {
        let each = Op::GatherMm { sorted: false };
        let each = t.gathered(each, g.swapaxes(-1, -2), &[a], left, k, g.dtype());
        added(t.zeros_broadcast(shape, g.dtype()), right, each.expand_dims(&[-3]))
    };
    dw.swapaxes(-1, -2)
}

/// First and last row of every matrix among sorted pairs.
fn segments<'t>(matrices: u32, rows: u32, right: Var<'t>) -> Var<'t> {
    let t = right.tape();
    let zeros = t.zeros_broadcast(Shape::new(&[matrices]), DType::U32);
    let ones = t.scalar(f64::from(rows), DType::U32).broadcast_to(right.shape());
    let op = Op::ScatterAxis { axis: 0, add: true };
    let counts = t.push(op, &[zeros, right, ones], zeros.shape(), DType::U32);
    let ends = counts.cumsum(0);
    let zero = t.constant(Shape::new(&[1]), 0.0, DType::U32);
    let bounds = t.concat(&[zero, ends], 0);
    let op = Op::Training(Training::AsStrided);
    t.push(op, &[bounds], Shape::new(&[matrices, 2]), DType::U32)
}

/// Of a convolution along the second axis: another one, with the filter turned.
pub(super) fn convolution<'t>(r: &Recorded<'t>, i: usize, groups: u32) -> Var<'t> {
    let [x, w] = [r.inputs[0], r.inputs[1]];
    let g = r.g();
    let t = g.tape();
    let op = Op::Convolution { groups };
    if i == 0 {
        return t.push(op, &[g, turned(w, 0, groups, (1, -1))], x.shape(), x.dtype());
    }
    let g = g.swapaxes(0, -1);
    let x = turned(x, -1, groups, (0, -1));
    let shape = Shape::new(&[w.dim(2), w.dim(1), w.dim(0)]);
    t.push(op, &[x, g], shape, w.dtype()).swapaxes(0, -1)
}

/// Inputs and outputs of each group of channels exchanged.
fn turned(x: Var<'_>, axis: i32, groups: u32, (a, b): (i32, i32)) -> Var<'_> {
    if groups <= 1 {
        return x.swapaxes(0, -1);
    }
    let shape = x.shape();
    let at = if axis < 0 { axis + shape.rank() as i32 } else { axis };
    let mut split = shape;
    split.insert(at as usize, groups);
    let split = split.with(at + 1, shape.dim(at) / groups);
    x.reshape(&split.signed()).swapaxes(a, b).flatten(at, at + 1)
}
