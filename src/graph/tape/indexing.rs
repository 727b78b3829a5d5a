//! Gathering, concatenating, updating parts of arrays.

use super::{Tape, Var};
use crate::graph::op::Op;
use crate::graph::shape::{Axes, MAX_RANK, Shape};
use crate::model::DType;

impl Tape<'_> {
    /// `mx.take(x, indices, axis=0)`, which is also `x[indices]`: rows of `x`.
    pub fn take(&self, x: Var, indices: Var) -> Var {
        let from = self.shape(x);
        let index = self.shape(indices);
        if from.rank() == 0 || index.rank() + from.rank() > MAX_RANK {
            return self.fail(format!("take: indices {index:?} into {from:?}"));
        }
        let sizes = from.with(0, 1);
        let mut shape = index;
        sizes.dims().iter().for_each(|&n| shape.push(n));
        let dtype = self.dtype(x);
        let op = Op::Gather(Box::new((Axes::new([0]), sizes)));
        let rows = self.push(op, &[x, indices], shape, dtype);
        self.squeeze(rows, &[index.rank() as i32])
    }

    /// `x[index]` with one integer, which MLX gathers by an index array.
    pub fn row(&self, x: Var, index: u32) -> Var {
        let index = self.scalar(f64::from(index), DType::U32);
        self.take(x, index)
    }

    /// `mx.take_along_axis`.
    pub fn take_along_axis(&self, x: Var, indices: Var, axis: i32) -> Var {
        let i = self.axis(x, axis, "take_along_axis");
        let (from, index) = (self.shape(x), self.shape(indices));
        if from.rank() != index.rank() {
            return self.fail(format!("take_along_axis: indices {index:?} into {from:?}"));
        }
        let Some(outer) = from.with(axis, 1).broadcast(&index.with(axis, 1)) else {
            return self.fail(format!("take_along_axis: indices {index:?} into {from:?}"));
        };
        let x = self.broadcast_to(x, outer.with(axis, from.dim(axis)));
        let shape = outer.with(axis, index.dim(axis));
        let indices = self.broadcast_to(indices, shape);
        let dtype = self.dtype(x);
        self.push(Op::GatherAxis { axis: i as u8 }, &[x, indices], shape, dtype)
    }

    /// `mx.put_along_axis`, or the adding variant.
    pub fn put_along_axis(&self, x: Var, indices: Var, values: Var, axis: i32, add: bool) -> Var {
        let i = self.axis(x, axis, "put_along_axis");
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        let mut values = self.astype(values, dtype);
        let extra = self.shape(values).rank().saturating_sub(self.shape(indices).rank());
        if extra > 0 {
            let axes: Vec<i32> = (0..extra as i32).collect();
            values = self.squeeze(values, &axes);
        }
        let Some(common) = self.shape(indices).broadcast(&self.shape(values)) else {
            return self.fail("put_along_axis: indices and values do not fit");
        };
        let mut indices = self.broadcast_to(indices, common);
        values = self.broadcast_to(values, common);
        let full = shape.with(axis, common.dim(axis));
        indices = self.broadcast_to(indices, full);
        values = self.broadcast_to(values, full);
        let op = Op::ScatterAxis { axis: i as u8, add };
        self.push(op, &[x, indices, values], shape, dtype)
    }

    /// `x[..., indices] = value` with a vector of indices.
    pub fn put_last(&self, x: Var, indices: Var, value: f64) -> Var {
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        let (rank, n) = (shape.rank(), self.dim(indices, 0));
        if rank == 0 || 2 * rank > MAX_RANK {
            return self.fail(format!("indexed assignment into {shape:?}"));
        }
        let common = shape.with(-1, n);
        let mut inputs = vec![x];
        for axis in 0..rank {
            let mut place = vec![1i64; rank];
            let index = if axis + 1 == rank {
                indices
            } else {
                self.arange_of(0, shape.dim(axis as i32), DType::U32)
            };
            place[axis] = i64::from(self.dim(index, 0));
            let index = self.reshape(index, &place);
            let index = self.broadcast_to(index, common);
            inputs.push(index);
        }
        let wide = inputs[1..].iter().map(|&v| self.dtype(v)).reduce(DType::promote);
        for index in &mut inputs[1..] {
            *index = self.astype(*index, wide.unwrap_or(DType::I32));
        }
        let value = self.scalar(value, dtype);
        let values = self.broadcast_to(value, common);
        let mut to: Vec<i64> = common.dims().iter().map(|&n| i64::from(n)).collect();
        to.resize(2 * rank, 1);
        let values = self.reshape(values, &to);
        inputs.push(values);
        self.push(Op::Scatter(Axes::new(0..rank)), &inputs, shape, dtype)
    }

    /// `mx.concatenate` along an axis.
    pub fn concat(&self, parts: &[Var], axis: i32) -> Var {
        let &[first, ..] = parts else {
            return self.fail("concatenate: nothing to join");
        };
        if parts.len() == 1 {
            return first;
        }
        let i = self.axis(first, axis, "concatenate");
        let shape = self.shape(first);
        let mut total = 0;
        let mut dtype = self.dtype(first);
        for &p in parts {
            let part = self.shape(p);
            if part.with(axis, 1) != shape.with(axis, 1) {
                return self.fail(format!("concatenate: shapes {shape:?} and {part:?}"));
            }
            total += u64::from(part.dim(axis));
            dtype = dtype.promote(self.dtype(p));
        }
        let total = self.size(total);
        let parts: Vec<Var> = parts.iter().map(|&p| self.astype(p, dtype)).collect();
        let op = Op::Concatenate { axis: i as u8 };
        self.push(op, &parts, shape.with(axis, total), dtype)
    }

    /// `mx.stack` along a new axis.
    pub fn stack(&self, parts: &[Var], axis: i32) -> Var {
        let rank = parts.first().map_or(0, |&p| self.shape(p).rank()) as i32;
        let place = if axis < 0 { axis + rank + 1 } else { axis };
        let parts: Vec<Var> = parts.iter().map(|&p| self.expand_dims(p, &[place])).collect();
        self.concat(&parts, place)
    }

    /// `x[..., start:start+n, ...] = update` along one axis, where `n` is the size of the update there.
    pub fn slice_update(&self, x: Var, update: Var, axis: i32, start: u32) -> Var {
        let shape = self.shape(x);
        let dtype = self.dtype(x);
        let n = self.dim(update, axis);
        if u64::from(start) + u64::from(n) > u64::from(shape.dim(axis)) {
            return self.fail(format!("update of {n} elements at {start} of {shape:?}"));
        }
        let update = self.astype(update, dtype);
        let update = self.broadcast_to(update, shape.with(axis, n));
        if n == shape.dim(axis) {
            return update;
        }
        let starts = Shape::new(&[0; MAX_RANK][..shape.rank()]).with(axis, start);
        self.push(Op::SliceUpdate(Box::new(starts)), &[x, update], shape, dtype)
    }

    /// `x.at[..., :n].multiply(factor)`.
    pub fn multiply_front(&self, x: Var, n: u32, factor: f64) -> Var {
        let shape = self.shape(x);
        if n >= shape.dim(-1) {
            return self.mul(x, factor);
        }
        let dtype = self.dtype(x);
        let factor = self.scalar(factor, dtype);
        let factor = self.broadcast_to(factor, shape.with(-1, n));
        let starts = Shape::new(&[0; MAX_RANK][..shape.rank()]);
        self.push(Op::SliceMultiply(Box::new(starts)), &[x, factor], shape, dtype)
    }

    /// `mx.pad` with zeros along one axis.
    pub fn pad(&self, x: Var, axis: i32, before: u32, after: u32) -> Var {
        self.pad_with(x, axis, (before, after), 0.0)
    }

    /// `mx.pad` with a constant along one axis, so many elements before and after.
    pub fn pad_with(&self, x: Var, axis: i32, (before, after): (u32, u32), value: f64) -> Var {
        let shape = self.shape(x);
        let dtype = self.dtype(x);
        let n = u64::from(shape.dim(axis)) + u64::from(before) + u64::from(after);
        let n = self.size(n);
        let filling = self.scalar(value, dtype);
        let low = Shape::new(&[0; MAX_RANK][..shape.rank()]).with(axis, before);
        self.push(Op::Pad(Box::new(low)), &[x, filling], shape.with(axis, n), dtype)
    }

    /// `mx.contiguous`.
    pub fn contiguous(&self, x: Var) -> Var {
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        self.push(Op::Contiguous, &[x], shape, dtype)
    }

    /// `mx.depends(x, others)`: `x`, evaluated together with the others.
    pub fn depends(&self, x: Var, others: &[Var]) -> Var {
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        let mut inputs = vec![x];
        inputs.extend_from_slice(others);
        self.push(Op::Depends, &inputs, shape, dtype)
    }

    /// `mx.roll` along one axis: the two parts swap places.
    pub fn roll(&self, x: Var, shift: i64, axis: i32) -> Var {
        let n = i64::from(self.dim(x, axis));
        if n == 0 {
            return x;
        }
        let at = if shift < 0 { -shift % n } else { n - shift % n };
        let parts = self.split_many(x, &[at as u32], axis);
        let swapped: Vec<Var> = parts.into_iter().rev().collect();
        self.concat(&swapped, axis)
    }
}
