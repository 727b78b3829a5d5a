//! Gathering, concatenating, updating parts of arrays.

use super::{Tape, Var};
use crate::graph::op::Op;
use crate::graph::shape::{Axes, MAX_RANK, Shape};
use crate::model::DType;

/// `mx.concatenate` along an axis.
pub fn concat<const N: usize>(parts: [Var<'_>; N], axis: i32) -> Var<'_> {
    const { assert!(N > 0, "nothing to join") };
    parts[0].tape().concat(&parts, axis)
}

impl<'t> Var<'t> {
    /// `mx.take(x, indices, axis=0)`, which is also `x[indices]`: rows of `x`.
    pub fn take(self, indices: Var<'t>) -> Self {
        let t = self.tape;
        let from = self.shape();
        let index = indices.shape();
        if from.rank() == 0 || index.rank() + from.rank() > MAX_RANK {
            return t.fail(format!("take: indices {index:?} into {from:?}"));
        }
        let sizes = from.with(0, 1);
        let mut shape = index;
        sizes.dims().iter().for_each(|&n| shape.push(n));
        let dtype = self.dtype();
        let op = Op::Gather(Box::new((Axes::new([0]), sizes)));
        let rows = t.push(op, &[self, indices], shape, dtype);
        rows.squeeze(&[index.rank() as i32])
    }

    /// `x[index]` with one integer, which MLX gathers by an index array.
    pub fn row(self, index: u32) -> Self {
        let index = self.tape.scalar(f64::from(index), DType::U32);
        self.take(index)
    }

    /// `mx.take_along_axis`.
    pub fn take_along_axis(self, indices: Var<'t>, axis: i32) -> Self {
        let t = self.tape;
        let i = self.axis(axis, "take_along_axis");
        let (from, index) = (self.shape(), indices.shape());
        if from.rank() != index.rank() {
            return t.fail(format!("take_along_axis: indices {index:?} into {from:?}"));
        }
        let Some(outer) = from.with(axis, 1).broadcast(&index.with(axis, 1)) else {
            return t.fail(format!("take_along_axis: indices {index:?} into {from:?}"));
        };
        let x = self.broadcast_to(outer.with(axis, from.dim(axis)));
        let shape = outer.with(axis, index.dim(axis));
        let indices = indices.broadcast_to(shape);
        let dtype = x.dtype();
        t.push(Op::GatherAxis { axis: i as u8 }, &[x, indices], shape, dtype)
    }

    /// `mx.put_along_axis`, or the adding variant.
    pub fn put_along_axis(self, indices: Var<'t>, values: Var<'t>, axis: i32, add: bool) -> Self {
        let t = self.tape;
        let i = self.axis(axis, "put_along_axis");
        let (shape, dtype) = (self.shape(), self.dtype());
        let mut values = values.astype(dtype);
        let extra = values.shape().rank().saturating_sub(indices.shape().rank());
        if extra > 0 {
            let axes: Vec<i32> = (0..extra as i32).collect();
            values = values.squeeze(&axes);
        }
        let Some(common) = indices.shape().broadcast(&values.shape()) else {
            return t.fail("put_along_axis: indices and values do not fit");
        };
        let mut indices = indices.broadcast_to(common);
        values = values.broadcast_to(common);
        let full = shape.with(axis, common.dim(axis));
        indices = indices.broadcast_to(full);
        values = values.broadcast_to(full);
        let op = Op::ScatterAxis { axis: i as u8, add };
        t.push(op, &[self, indices, values], shape, dtype)
    }

    /// `x[..., indices] = value` with a vector of indices.
    pub fn put_last(self, indices: Var<'t>, value: f64) -> Self {
        let t = self.tape;
        let (shape, dtype) = (self.shape(), self.dtype());
        let (rank, n) = (shape.rank(), indices.dim(0));
        if rank == 0 || 2 * rank > MAX_RANK {
            return t.fail(format!("indexed assignment into {shape:?}"));
        }
        let common = shape.with(-1, n);
        let mut inputs = vec![self];
        for axis in 0..rank {
            let mut place = vec![1i64; rank];
            let index = if axis + 1 == rank {
                indices
            } else {
                t.arange_of(0, shape.dim(axis as i32), DType::U32)
            };
            place[axis] = i64::from(index.dim(0));
            let index = index.reshape(&place).broadcast_to(common);
            inputs.push(index);
        }
        let wide = inputs[1..].iter().map(|&v| v.dtype()).reduce(DType::promote);
        for index in &mut inputs[1..] {
            *index = (*index).astype(wide.unwrap_or(DType::I32));
        }
        let value = t.scalar(value, dtype);
        let values = value.broadcast_to(common);
        let mut to = common.signed();
        to.resize(2 * rank, 1);
        let values = values.reshape(&to);
        inputs.push(values);
        t.push(Op::Scatter(Axes::new(0..rank)), &inputs, shape, dtype)
    }

    /// `x[..., start:start+n, ...] = update` along one axis, where `n` is the size of the update there.
    pub fn slice_update(self, update: Var<'t>, axis: i32, start: u32) -> Self {
        let t = self.tape;
        let shape = self.shape();
        let dtype = self.dtype();
        let n = update.dim(axis);
        if u64::from(start) + u64::from(n) > u64::from(shape.dim(axis)) {
            return t.fail(format!("update of {n} elements at {start} of {shape:?}"));
        }
        let update = update.astype(dtype).broadcast_to(shape.with(axis, n));
        if n == shape.dim(axis) {
            return update;
        }
        let starts = Shape::new(&[0; MAX_RANK][..shape.rank()]).with(axis, start);
        t.push(Op::SliceUpdate(Box::new(starts)), &[self, update], shape, dtype)
    }

    /// `x.at[..., :n].multiply(factor)`.
    pub fn multiply_front(self, n: u32, factor: f64) -> Self {
        let t = self.tape;
        let shape = self.shape();
        if n >= shape.dim(-1) {
            return self * factor;
        }
        let dtype = self.dtype();
        let factor = t.scalar(factor, dtype).broadcast_to(shape.with(-1, n));
        let starts = Shape::new(&[0; MAX_RANK][..shape.rank()]);
        t.push(Op::SliceMultiply(Box::new(starts)), &[self, factor], shape, dtype)
    }

    /// `mx.pad` with zeros along one axis.
    pub fn pad(self, axis: i32, before: u32, after: u32) -> Self {
        self.pad_with(axis, (before, after), 0.0)
    }

    /// `mx.pad` with a constant along one axis, so many elements before and after.
    pub fn pad_with(self, axis: i32, (before, after): (u32, u32), value: f64) -> Self {
        let t = self.tape;
        let shape = self.shape();
        let dtype = self.dtype();
        let n = u64::from(shape.dim(axis)) + u64::from(before) + u64::from(after);
        let n = t.size(n);
        let filling = t.scalar(value, dtype);
        let low = Shape::new(&[0; MAX_RANK][..shape.rank()]).with(axis, before);
        t.push(Op::Pad(Box::new(low)), &[self, filling], shape.with(axis, n), dtype)
    }

    /// `mx.contiguous`.
    pub fn contiguous(self) -> Self {
        let (shape, dtype) = (self.shape(), self.dtype());
        self.tape.push(Op::Contiguous, &[self], shape, dtype)
    }

    /// `mx.depends(x, others)`: `x`, evaluated together with the others.
    pub fn depends(self, others: &[Var<'t>]) -> Self {
        let (shape, dtype) = (self.shape(), self.dtype());
        let mut inputs = vec![self];
        inputs.extend_from_slice(others);
        self.tape.push(Op::Depends, &inputs, shape, dtype)
    }

    /// `mx.roll` along one axis: the two parts swap places.
    pub fn roll(self, shift: i64, axis: i32) -> Self {
        let n = i64::from(self.dim(axis));
        if n == 0 {
            return self;
        }
        let at = if shift < 0 { -shift % n } else { n - shift % n };
        let parts = self.split_many(&[at as u32], axis);
        let swapped: Vec<Var<'t>> = parts.into_iter().rev().collect();
        self.tape.concat(&swapped, axis)
    }
}

impl<'t> Tape<'t> {
    /// `mx.concatenate` along an axis.
    pub fn concat(&'t self, parts: &[Var<'t>], axis: i32) -> Var<'t> {
        let &[first, ..] = parts else {
            return self.fail("concatenate: nothing to join");
        };
        if parts.len() == 1 {
            return first;
        }
        let i = first.axis(axis, "concatenate");
        let shape = first.shape();
        let mut total = 0;
        let mut dtype = first.dtype();
        for &p in parts {
            let part = p.shape();
            if part.with(axis, 1) != shape.with(axis, 1) {
                return self.fail(format!("concatenate: shapes {shape:?} and {part:?}"));
            }
            total += u64::from(part.dim(axis));
            dtype = dtype.promote(p.dtype());
        }
        let total = self.size(total);
        let parts: Vec<Var<'t>> = parts.iter().map(|&p| p.astype(dtype)).collect();
        let op = Op::Concatenate { axis: i as u8 };
        self.push(op, &parts, shape.with(axis, total), dtype)
    }

    /// `mx.stack` along a new axis.
    pub fn stack(&'t self, parts: &[Var<'t>], axis: i32) -> Var<'t> {
        let rank = parts.first().map_or(0, |&p| p.shape().rank()) as i32;
        let place = if axis < 0 { axis + rank + 1 } else { axis };
        let parts: Vec<Var<'t>> = parts.iter().map(|&p| p.expand_dims(&[place])).collect();
        self.concat(&parts, place)
    }
}
