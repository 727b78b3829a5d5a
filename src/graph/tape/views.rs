//! Reshapes, transposes, slices: operations that usually cost no kernel.

use super::{Source, Tape, Var};
use crate::graph::op::Op;
use crate::graph::shape::{Axes, MAX_RANK, Shape};

impl<'t> Var<'t> {
    /// `mx.reshape`; one dimension may be -1 (and then there is an operation even if nothing changes).
    pub fn reshape(self, dims: &[i64]) -> Self {
        let t = self.tape;
        let from = self.shape();
        let Some(to) = resolve(&from, dims) else {
            return t.fail(format!("cannot reshape {from:?} into {dims:?}"));
        };
        if to == from && !dims.contains(&-1) {
            return self;
        }
        let dtype = self.dtype();
        t.push(Op::Reshape, &[self], to, dtype)
    }

    /// `mx.flatten` of the axes `start` to `end`, both included.
    pub fn flatten(self, start: i32, end: i32) -> Self {
        let t = self.tape;
        let from = self.shape();
        if from.rank() == 0 {
            return self.reshape(&[1]);
        }
        let (Some(s), Some(e)) = (from.index(start), from.index(end)) else {
            return t.fail(format!("flatten: no axes {start} to {end} in {from:?}"));
        };
        if s == e {
            return self;
        }
        if s > e {
            return t.fail(format!("flatten: axis {start} is behind axis {end} in {from:?}"));
        }
        let merged: u64 = from.dims()[s..=e].iter().map(|&n| u64::from(n)).product();
        let mut to = Shape::new(&from.dims()[..s]);
        to.push(t.size(merged));
        from.dims()[e + 1..].iter().for_each(|&n| to.push(n));
        let dtype = self.dtype();
        t.push(Op::Flatten, &[self], to, dtype)
    }

    /// `mx.unflatten`: axis `axis` becomes the dimensions `dims`, one of which may be -1.
    pub fn unflatten(self, axis: i32, dims: &[i64]) -> Self {
        let t = self.tape;
        let from = self.shape();
        let Some(i) = from.index(axis) else {
            return t.fail(format!("unflatten: no axis {axis} in {from:?}"));
        };
        let Some(parts) = resolve(&Shape::new(&[from.dims()[i]]), dims) else {
            return t.fail(format!("cannot unflatten axis {axis} of {from:?} into {dims:?}"));
        };
        if parts.rank() == 1 {
            return self;
        }
        let mut to = Shape::new(&from.dims()[..i]);
        parts.dims().iter().chain(&from.dims()[i + 1..]).for_each(|&n| to.push(n));
        let dtype = self.dtype();
        t.push(Op::Unflatten, &[self], to, dtype)
    }

    /// `mx.transpose` with the given order of axes.
    pub fn transpose(self, order: &[usize]) -> Self {
        let t = self.tape;
        let from = self.shape();
        let mut to = Shape::SCALAR;
        for &axis in order {
            to.push(from.dims().get(axis).copied().unwrap_or(0));
        }
        let mut seen = [false; MAX_RANK];
        order.iter().for_each(|&a| seen[a.min(MAX_RANK - 1)] = true);
        if order.len() != from.rank() || !seen[..from.rank()].iter().all(|&s| s) {
            return t.fail(format!("transpose: {order:?} is no order of the axes of {from:?}"));
        }
        let dtype = self.dtype();
        t.push(Op::Transpose(Axes::new(order.iter().copied())), &[self], to, dtype)
    }

    /// `mx.swapaxes`.
    pub fn swapaxes(self, a: i32, b: i32) -> Self {
        let (i, j) = (self.axis(a, "swapaxes"), self.axis(b, "swapaxes"));
        let mut order = [0, 1, 2, 3, 4, 5, 6, 7];
        order.swap(i, j);
        let rank = self.shape().rank();
        self.transpose(&order[..rank])
    }

    /// `mx.expand_dims` with axes of the result, counted from the end when negative.
    pub fn expand_dims(self, axes: &[i32]) -> Self {
        let t = self.tape;
        let from = self.shape();
        let rank = from.rank() + axes.len();
        let mut places: Vec<usize> = axes
            .iter()
            .filter_map(|&a| usize::try_from(if a < 0 { a + rank as i32 } else { a }).ok())
            .filter(|&a| a < rank)
            .collect();
        places.sort_unstable();
        places.dedup();
        if places.len() != axes.len() || rank > MAX_RANK {
            return t.fail(format!("expand_dims: axes {axes:?} do not fit {from:?}"));
        }
        let mut to = from;
        places.iter().for_each(|&p| to.insert(p, 1));
        let dtype = self.dtype();
        t.push(Op::ExpandDims(Axes::new(places)), &[self], to, dtype)
    }

    /// `mx.squeeze` of the given axes.
    pub fn squeeze(self, axes: &[i32]) -> Self {
        let t = self.tape;
        let from = self.shape();
        let mut places: Vec<usize> = axes.iter().filter_map(|&a| from.index(a)).collect();
        places.sort_unstable();
        places.dedup();
        if places.len() != axes.len() || places.iter().any(|&p| from.dims()[p] != 1) {
            return t.fail(format!("squeeze: axes {axes:?} of {from:?} are not all 1"));
        }
        let mut to = from;
        places.iter().rev().for_each(|&p| to.remove(p));
        let dtype = self.dtype();
        t.push(Op::Squeeze(Axes::new(places)), &[self], to, dtype)
    }

    /// `mx.broadcast_to`.
    pub fn broadcast_to(self, to: Shape) -> Self {
        let t = self.tape;
        let from = self.shape();
        if from == to {
            return self;
        }
        if from.broadcast(&to) != Some(to) {
            return t.fail(format!("cannot broadcast {from:?} to {to:?}"));
        }
        let dtype = self.dtype();
        t.push(Op::Broadcast, &[self], to, dtype)
    }

    /// `x[..., start:stop, ...]` along one axis; `stop` is cut to the size of the axis.
    pub fn slice(self, axis: i32, start: u32, stop: u32) -> Self {
        let from = self.shape();
        let i = self.axis(axis, "slice");
        let n = from.dims().get(i).copied().unwrap_or(0);
        let (start, stop) = (start.min(n), stop.min(n));
        let length = stop.saturating_sub(start);
        if length == n {
            return self;
        }
        let mut starts = Shape::new(&[0; MAX_RANK][..from.rank()]);
        starts = starts.with(axis, start);
        let steps = Shape::new(&[1; MAX_RANK][..from.rank()]);
        let dtype = self.dtype();
        self.tape.push(
            Op::Slice(Box::new((starts, steps))),
            &[self],
            from.with(axis, length),
            dtype,
        )
    }

    /// `x[a:b, c:d, …]`: parts of several axes in one operation; each stop is cut to the size of its axis.
    pub fn slice_axes(self, parts: &[(i32, u32, u32)]) -> Self {
        let from = self.shape();
        let mut to = from;
        let mut starts = Shape::new(&[0; MAX_RANK][..from.rank()]);
        for &(axis, start, stop) in parts {
            let n = from.dim(axis);
            let (start, stop) = (start.min(n), stop.min(n));
            starts = starts.with(axis, start);
            to = to.with(axis, stop.saturating_sub(start));
        }
        if to == from {
            return self;
        }
        let steps = Shape::new(&[1; MAX_RANK][..from.rank()]);
        let dtype = self.dtype();
        self.tape.push(Op::Slice(Box::new((starts, steps))), &[self], to, dtype)
    }

    /// `x[..., start::step, ...]` along one axis.
    pub fn slice_step(self, axis: i32, start: u32, step: u32) -> Self {
        let t = self.tape;
        let from = self.shape();
        let i = self.axis(axis, "slice");
        let n = from.dims().get(i).copied().unwrap_or(0);
        if step == 0 {
            return t.fail("slice: a step of 0");
        }
        let length = n.saturating_sub(start).div_ceil(step);
        if length == n {
            return self;
        }
        let zeros = Shape::new(&[0; MAX_RANK][..from.rank()]);
        let ones = Shape::new(&[1; MAX_RANK][..from.rank()]);
        let spec = (zeros.with(axis, start), ones.with(axis, if length == 1 { 1 } else { step }));
        let dtype = self.dtype();
        t.push(Op::Slice(Box::new(spec)), &[self], from.with(axis, length), dtype)
    }

    /// `x[..., -count:, ...]` along one axis.
    pub fn last(self, axis: i32, count: u32) -> Self {
        let n = self.dim(axis);
        self.slice(axis, n.saturating_sub(count), n)
    }

    /// `x[..., index, ...]` with one integer: a slice and a squeeze.
    pub fn at(self, axis: i32, index: u32) -> Self {
        let part = self.slice(axis, index, index.saturating_add(1));
        part.squeeze(&[axis])
    }

    /// `mx.split` at the given indices of an axis. Always returns `N` parts, one more than indices.
    pub fn split<const N: usize>(self, at: &[u32], axis: i32) -> [Var<'t>; N] {
        let parts = self.split_many(at, axis);
        match parts.try_into() {
            Ok(parts) => parts,
            Err(_) => {
                [self.tape.fail(format!("split: {} indices do not give {N} parts", at.len())); N]
            }
        }
    }

    /// `mx.split` at the given indices of an axis.
    pub fn split_many(self, at: &[u32], axis: i32) -> Vec<Var<'t>> {
        let t = self.tape;
        if at.is_empty() {
            return vec![self];
        }
        let from = self.shape();
        let i = self.axis(axis, "split");
        let n = from.dims().get(i).copied().unwrap_or(0);
        let mut bounds = vec![0];
        bounds.extend_from_slice(at);
        bounds.push(n);
        let sorted = bounds.windows(2).all(|w| w[0] <= w[1]);
        if at.len() >= 10 || !sorted || at[0] == 0 || at[at.len() - 1] >= n {
            // Like MLX: one slice per part.
            return bounds.windows(2).map(|w| self.slice(axis, w[0], w[1])).collect();
        }
        let dtype = self.dtype();
        let parts: Vec<Var<'t>> = bounds
            .windows(2)
            .map(|w| t.value(from.with(axis, w[1] - w[0]), dtype, Source::Node))
            .collect();
        t.record(Op::Split(i as u8, at.into()), &[self], &parts);
        parts
    }

    /// `mx.split` into `N` equal parts.
    pub fn split_equal<const N: usize>(self, axis: i32) -> [Var<'t>; N] {
        let n = self.dim(axis);
        let part = n / N as u32;
        if part * N as u32 != n {
            return [self.tape.fail(format!("cannot split an axis of {n} into {N} equal parts"));
                N];
        }
        let at: Vec<u32> = (1..N as u32).map(|i| i * part).collect();
        self.split(&at, axis)
    }

    /// `mx.repeat` along an axis: a broadcast that is then copied.
    pub fn repeat(self, times: u32, axis: i32) -> Self {
        if times == 1 {
            return self;
        }
        let i = self.axis(axis, "repeat");
        let mut wide = self.shape();
        wide.insert(i + 1, times);
        let spread = self.expand_dims(&[i as i32 + 1]);
        let spread = spread.broadcast_to(wide);
        let mut to = self.shape().signed();
        if let Some(n) = to.get_mut(i) {
            *n *= i64::from(times);
        }
        spread.reshape(&to)
    }

    /// `mx.tile` along one axis: whole copies one after the other.
    pub fn tile(self, copies: u32, axis: i32) -> Self {
        if copies == 1 {
            return self;
        }
        let i = self.axis(axis, "tile");
        let from = self.shape();
        let (mut spread, mut wide) = (from, from);
        spread.insert(i, 1);
        wide.insert(i, copies);
        let x = self.reshape(&spread.signed()).broadcast_to(wide);
        let mut to = from.signed();
        if let Some(n) = to.get_mut(i) {
            *n *= i64::from(copies);
        }
        x.reshape(&to)
    }
}

impl<'t> Tape<'t> {
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
