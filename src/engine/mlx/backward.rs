//! Primitives of training steps as calls of MLX.

use super::error::EngineError;
use super::ops::{Array, Ops};
use crate::graph::op::{Rope, Training};
use crate::graph::shape::Shape;
use crate::model::DType;

type Result<T> = std::result::Result<T, EngineError>;

/// Executes a primitive whose outputs have the given shapes and types.
pub(super) fn run(
    ops: &Ops,
    op: Training,
    inputs: &[&Array],
    out: &[(Shape, DType)],
) -> Result<Vec<Array>> {
    match (op, inputs) {
        (Training::RmsNormGradient { eps }, &[x, w, g]) => {
            let weight = is_array(w);
            let norm = |a: &[Array]| ops.rms_norm(&a[0], weight.then(|| &a[1]), eps);
            of_norm(ops, &norm, &[x, w], g, out)
        }
        (Training::LayerNormGradient { eps }, &[x, w, b, g]) => {
            let (weight, bias) = (is_array(w), is_array(b));
            let norm = |a: &[Array]| {
                let weight = weight.then(|| &a[1]);
                ops.layer_norm(&a[0], weight, bias.then(|| &a[a.len() - 1]), eps)
            };
            of_norm(ops, &norm, &[x, w, b], g, out)
        }
        (Training::RopeGradient(rope), [g, rest @ ..]) => {
            // The rotation is linear: where it is differentiated is all the same.
            let turned = |a: &[Array]| rotated(ops, &a[0], &rope, rest);
            ops.gradients(&turned, &[g], g)
        }
        (Training::ScatterAdd(axes), [x, indices @ .., new]) => {
            Ok(vec![ops.scatter(x, indices, new, &axes, true)?])
        }
        (Training::SegmentedMm, &[a, b, segments]) => Ok(vec![ops.segmented_mm(a, b, segments)?]),
        (Training::AsStrided, &[x]) => Ok(vec![ops.pairs(x, &out[0].0)?]),
        (Training::Checkpoint, all) if all.len() >= out.len() => {
            Ok(all[all.len() - out.len()..].iter().map(|x| (*x).clone()).collect())
        }
        (Training::Depends, all) if all.len() >= out.len() => {
            let (values, others) = all.split_at(out.len());
            values.iter().map(|x| ops.depends(x, others)).collect()
        }
        _ => Err(EngineError::Unsupported(format!("{op:?} of {} inputs", inputs.len()))),
    }
}

/// Whether an input is a tensor, and not the scalar that stands where a norm has none.
fn is_array(x: &Array) -> bool {
    x.ndim() > 0
}

/// Gradients of a norm: of tensors that it has; zeros for the scalars in place of others.
fn of_norm(
    ops: &Ops,
    norm: &super::ops::Forward<'_>,
    given: &[&Array],
    g: &Array,
    out: &[(Shape, DType)],
) -> Result<Vec<Array>> {
    let arrays: Vec<&Array> = given.iter().copied().filter(|x| is_array(x)).collect();
    let mut made = ops.gradients(norm, &arrays, g)?.into_iter();
    let of = |(x, (shape, dtype)): (&&Array, &(Shape, DType))| {
        let found = if is_array(x) { made.next() } else { None };
        found.map_or_else(|| ops.numbers(&[0.0], shape, *dtype), Ok)
    };
    given.iter().zip(out).map(of).collect()
}

/// A rotary embedding, with the position and the table of frequencies among the further inputs.
pub(super) fn rotated(ops: &Ops, x: &Array, rope: &Rope, rest: &[&Array]) -> Result<Array> {
    let table = usize::from(rope.base.is_none());
    let position = if rest.len() > table { rest.first().copied() } else { None };
    let freqs = if table == 1 { rest.last().copied() } else { None };
    ops.rope(x, rope, position, freqs)
}
