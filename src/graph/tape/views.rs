//! Reshapes, transposes, slices: operations that usually cost no kernel.

use super::{Source, Tape, Var};
use crate::graph::op::Op;
use crate::graph::shape::{Axes, MAX_RANK, Shape};

impl Tape<'_> {
    /// `mx.reshape`; one dimension may be -1 (and then there is an operation even if nothing changes).
    pub fn reshape(&self, x: Var, dims: &[i64]) -> Var {
        let from = self.shape(x);
        let Some(to) = resolve(&from, dims) else {
            return self.fail(format!("cannot reshape {from:?} into {dims:?}"));
        };
        if to == from && !dims.contains(&-1) {
            return x;
        }
        let dtype = self.dtype(x);
        self.push(Op::Reshape, &[x], to, dtype)
    }

    /// `mx.flatten` of the axes `start` to `end`, both included.
    pub fn flatten(&self, x: Var, start: i32, end: i32) -> Var {
        let from = self.shape(x);
        if from.rank() == 0 {
            return self.reshape(x, &[1]);
        }
        let (Some(s), Some(e)) = (from.index(start), from.index(end)) else {
            return self.fail(format!("flatten: no axes {start} to {end} in {from:?}"));
        };
        if s == e {
            return x;
        }
        if s > e {
            return self.fail(format!("flatten: axis {start} is behind axis {end} in {from:?}"));
        }
        let merged: u64 = from.dims()[s..=e].iter().map(|&n| u64::from(n)).product();
        let mut to = Shape::new(&from.dims()[..s]);
        to.push(self.size(merged));
        from.dims()[e + 1..].iter().for_each(|&n| to.push(n));
        let dtype = self.dtype(x);
        self.push(Op::Flatten, &[x], to, dtype)
    }

    /// `mx.unflatten`: axis `axis` becomes the dimensions `dims`, one of which may be -1.
    pub fn unflatten(&self, x: Var, axis: i32, dims: &[i64]) -> Var {
        let from = self.shape(x);
        let Some(i) = from.index(axis) else {
            return self.fail(format!("unflatten: no axis {axis} in {from:?}"));
        };
        let Some(parts) = resolve(&Shape::new(&[from.dims()[i]]), dims) else {
            return self.fail(format!("cannot unflatten axis {axis} of {from:?} into {dims:?}"));
        };
        if parts.rank() == 1 {
            return x;
        }
        let mut to = Shape::new(&from.dims()[..i]);
        parts.dims().iter().chain(&from.dims()[i + 1..]).for_each(|&n| to.push(n));
        let dtype = self.dtype(x);
        self.push(Op::Unflatten, &[x], to, dtype)
    }

    /// `mx.transpose` with the given order of axes.
    pub fn transpose(&self, x: Var, order: &[usize]) -> Var {
        let from = self.shape(x);
        let mut to = Shape::SCALAR;
        for &axis in order {
            to.push(from.dims().get(axis).copied().unwrap_or(0));
        }
        let mut seen = [false; MAX_RANK];
        order.iter().for_each(|&a| seen[a.min(MAX_RANK - 1)] = true);
        if order.len() != from.rank() || !seen[..from.rank()].iter().all(|&s| s) {
            return self.fail(format!("transpose: {order:?} is no order of the axes of {from:?}"));
        }
        let dtype = self.dtype(x);
        self.push(Op::Transpose(Axes::new(order.iter().copied())), &[x], to, dtype)
    }

    /// `mx.swapaxes`.
    pub fn swapaxes(&self, x: Var, a: i32, b: i32) -> Var {
        let (i, j) = (self.axis(x, a, "swapaxes"), self.axis(x, b, "swapaxes"));
        let mut order = [0, 1, 2, 3, 4, 5, 6, 7];
        order.swap(i, j);
        let rank = self.shape(x).rank();
        self.transpose(x, &order[..rank])
    }

    /// `mx.expand_dims` with axes of the result, counted from the end when negative.
    pub fn expand_dims(&self, x: Var, axes: &[i32]) -> Var {
        let from = self.shape(x);
        let rank = from.rank() + axes.len();
        let mut places: Vec<usize> = axes
            .iter()
            .filter_map(|&a| usize::try_from(if a < 0 { a + rank as i32 } else { a }).ok())
            .filter(|&a| a < rank)
            .collect();
        places.sort_unstable();
        places.dedup();
        if places.len() != axes.len() || rank > MAX_RANK {
            return self.fail(format!("expand_dims: axes {axes:?} do not fit {from:?}"));
        }
        let mut to = from;
        places.iter().for_each(|&p| to.insert(p, 1));
        let dtype = self.dtype(x);
        self.push(Op::ExpandDims(Axes::new(places)), &[x], to, dtype)
    }

    /// `mx.squeeze` of the given axes.
    pub fn squeeze(&self, x: Var, axes: &[i32]) -> Var {
        let from = self.shape(x);
        let mut places: Vec<usize> = axes.iter().filter_map(|&a| from.index(a)).collect();
        places.sort_unstable();
        places.dedup();
        if places.len() != axes.len() || places.iter().any(|&p| from.dims()[p] != 1) {
            return self.fail(format!("squeeze: axes {axes:?} of {from:?} are not all 1"));
        }
        let mut to = from;
        places.iter().rev().for_each(|&p| to.remove(p));
        let dtype = self.dtype(x);
        self.push(Op::Squeeze(Axes::new(places)), &[x], to, dtype)
    }

    /// `mx.broadcast_to`.
    pub fn broadcast_to(&self, x: Var, to: Shape) -> Var {
        let from = self.shape(x);
        if from == to {
            return x;
        }
        if from.broadcast(&to) != Some(to) {
            return self.fail(format!("cannot broadcast {from:?} to {to:?}"));
        }
        let dtype = self.dtype(x);
        self.push(Op::Broadcast, &[x], to, dtype)
    }

    /// `x[..., start:stop, ...]` along one axis; `stop` is cut to the size of the axis.
    pub fn slice(&self, x: Var, axis: i32, start: u32, stop: u32) -> Var {
        let from = self.shape(x);
        let i = self.axis(x, axis, "slice");
        let n = from.dims().get(i).copied().unwrap_or(0);
        let (start, stop) = (start.min(n), stop.min(n));
        let length = stop.saturating_sub(start);
        if length == n {
            return x;
        }
        let mut starts = Shape::new(&[0; MAX_RANK][..from.rank()]);
        starts = starts.with(axis, start);
        let steps = Shape::new(&[1; MAX_RANK][..from.rank()]);
        let dtype = self.dtype(x);
        self.push(Op::Slice(Box::new((starts, steps))), &[x], from.with(axis, length), dtype)
    }

    /// `x[a:b, c:d, …]`: parts of several axes in one operation; each stop is cut to the size of its axis.
    pub fn slice_axes(&self, x: Var, parts: &[(i32, u32, u32)]) -> Var {
        let from = self.shape(x);
        let mut to = from;
        let mut starts = Shape::new(&[0; MAX_RANK][..from.rank()]);
        for &(axis, start, stop) in parts {
            let n = from.dim(axis);
            let (start, stop) = (start.min(n), stop.min(n));
            starts = starts.with(axis, start);
            to = to.with(axis, stop.saturating_sub(start));
        }
        if to == from {
            return x;
        }
        let steps = Shape::new(&[1; MAX_RANK][..from.rank()]);
        let dtype = self.dtype(x);
        self.push(Op::Slice(Box::new((starts, steps))), &[x], to, dtype)
    }

    /// `x[..., start::step, ...]` along one axis.
    pub fn slice_step(&self, x: Var, axis: i32, start: u32, step: u32) -> Var {
        let from = self.shape(x);
        let i = self.axis(x, axis, "slice");
        let n = from.dims().get(i).copied().unwrap_or(0);
        if step == 0 {
            return self.fail("slice: a step of 0");
        }
        let length = n.saturating_sub(start).div_ceil(step);
        if length == n {
            return x;
        }
        let zeros = Shape::new(&[0; MAX_RANK][..from.rank()]);
        let ones = Shape::new(&[1; MAX_RANK][..from.rank()]);
        let spec = (zeros.with(axis, start), ones.with(axis, if length == 1 { 1 } else { step }));
        let dtype = self.dtype(x);
        self.push(Op::Slice(Box::new(spec)), &[x], from.with(axis, length), dtype)
    }

    /// `x[..., -count:, ...]` along one axis.
    pub fn last(&self, x: Var, axis: i32, count: u32) -> Var {
        let n = self.dim(x, axis);
        self.slice(x, axis, n.saturating_sub(count), n)
    }

    /// `x[..., index, ...]` with one integer: a slice and a squeeze.
    pub fn at(&self, x: Var, axis: i32, index: u32) -> Var {
        let part = self.slice(x, axis, index, index.saturating_add(1));
        self.squeeze(part, &[axis])
    }

    /// `mx.split` at the given indices of an axis. Always returns `N` parts, one more than indices.
    pub fn split<const N: usize>(&self, x: Var, at: &[u32], axis: i32) -> [Var; N] {
        let parts = self.split_many(x, at, axis);
        match parts.try_into() {
            Ok(parts) => parts,
            Err(_) => [self.fail(format!("split: {} indices do not give {N} parts", at.len())); N],
        }
    }

    /// `mx.split` at the given indices of an axis.
    pub fn split_many(&self, x: Var, at: &[u32], axis: i32) -> Vec<Var> {
        if at.is_empty() {
            return vec![x];
        }
        let from = self.shape(x);
        let i = self.axis(x, axis, "split");
        let n = from.dims().get(i).copied().unwrap_or(0);
        let mut bounds = vec![0];
        bounds.extend_from_slice(at);
        bounds.push(n);
        let sorted = bounds.windows(2).all(|w| w[0] <= w[1]);
        if at.len() >= 10 || !sorted || at[0] == 0 || at[at.len() - 1] >= n {
            // Like MLX: one slice per part.
            return bounds.windows(2).map(|w| self.slice(x, axis, w[0], w[1])).collect();
        }
        let dtype = self.dtype(x);
        let parts: Vec<Var> = bounds
            .windows(2)
            .map(|w| self.value(from.with(axis, w[1] - w[0]), dtype, Source::Node))
            .collect();
        self.record(Op::Split(i as u8, at.into()), &[x], &parts);
        parts
    }

    /// `mx.split` into `N` equal parts.
    pub fn split_equal<const N: usize>(&self, x: Var, axis: i32) -> [Var; N] {
        let n = self.dim(x, axis);
        let part = n / N as u32;
        if part * N as u32 != n {
            return [self.fail(format!("cannot split an axis of {n} into {N} equal parts")); N];
        }
        let at: Vec<u32> = (1..N as u32).map(|i| i * part).collect();
        self.split(x, &at, axis)
    }

    /// `mx.repeat` along an axis: a broadcast that is then copied.
    pub fn repeat(&self, x: Var, times: u32, axis: i32) -> Var {
        if times == 1 {
            return x;
        }
        let i = self.axis(x, axis, "repeat");
        let mut wide = self.shape(x);
        wide.insert(i + 1, times);
        let spread = self.expand_dims(x, &[i as i32 + 1]);
        let spread = self.broadcast_to(spread, wide);
        let mut to: Vec<i64> = self.shape(x).dims().iter().map(|&n| i64::from(n)).collect();
        if let Some(n) = to.get_mut(i) {
            *n *= i64::from(times);
        }
        self.reshape(spread, &to)
    }

    /// `mx.tile` along one axis: whole copies one after the other.
    pub fn tile(&self, x: Var, copies: u32, axis: i32) -> Var {
        if copies == 1 {
            return x;
        }
        let i = self.axis(x, axis, "tile");
        let from = self.shape(x);
        let (mut spread, mut wide) = (from, from);
        spread.insert(i, 1);
        wide.insert(i, copies);
        let dims = |shape: Shape| shape.dims().iter().map(|&n| i64::from(n)).collect::<Vec<_>>();
        let x = self.reshape(x, &dims(spread));
        let x = self.broadcast_to(x, wide);
        let mut to = dims(from);
        if let Some(n) = to.get_mut(i) {
            *n *= i64::from(copies);
        }
        self.reshape(x, &to)
    }

    pub(super) fn size(&self, n: u64) -> u32 {
        match u32::try_from(n) {
            Ok(n) if n < 1 << 31 => n,
            _ => {
                self.fail(format!("an axis of {n} elements"));
                1
            }
        }
    }
}

/// The shape that `dims` means for an array of shape `from`.
fn resolve(from: &Shape, dims: &[i64]) -> Option<Shape> {
    let total = from.elements();
    let mut known: u64 = 1;
    let mut free = 0;
    for &d in dims {
        if d < 0 {
            free += 1;
        } else {
            known = known.checked_mul(d as u64)?;
        }
    }
    if free > 1 || dims.len() > MAX_RANK || (free == 1 && known == 0) {
        return None;
    }
    let rest = if free == 1 { total / known } else { 1 };
    if known.checked_mul(rest)? != total {
        return None;
    }
    let mut shape = Shape::SCALAR;
    for &d in dims {
        shape.push(u32::try_from(if d < 0 { rest as i64 } else { d }).ok()?);
    }
    Some(shape)
}
