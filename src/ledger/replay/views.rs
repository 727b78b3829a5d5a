//! Views: reshapes, transposes, slices. Only a reshape may cost a copy.

use super::memory::ArrayId;
use super::{Replay, layout};
use crate::graph::shape::{Axes, MAX_RANK, Shape};

impl Replay<'_> {
    pub(super) fn reshape(&mut self, x: ArrayId, out: ArrayId) {
        let from = self.arrays[x.index()];
        let to = self.arrays[out.index()].shape;
        let Some(strides) = layout::reshaped(&from.shape, &from.strides, from.flags.row, &to)
        else {
            self.allocate(out);
            self.dispatch(&[x], &[out], 1);
            self.current.copied_bytes += self.arrays[out.index()].bytes();
            return;
        };
        self.share(out, x);
        let a = &mut self.arrays[out.index()];
        a.strides = strides;
        if from.flags.row {
            let n = to.elements();
            let flat = n <= 1 || to.dims().iter().any(|&d| u64::from(d) == n);
            a.flags = layout::Flags { contiguous: from.flags.contiguous, row: true, col: flat };
        }
    }

    pub(super) fn transpose(&mut self, x: ArrayId, out: ArrayId, axes: &Axes) {
        let from = self.arrays[x.index()];
        self.share(out, x);
        let a = &mut self.arrays[out.index()];
        let mut strides = [0; MAX_RANK];
        axes.iter().enumerate().for_each(|(i, axis)| strides[i] = from.strides[axis]);
        a.strides = strides;
        if from.flags.contiguous && from.data_size == from.size() {
            a.flags = layout::contiguity(&a.shape, &strides).1;
        }
    }

    pub(super) fn expand_dims(&mut self, x: ArrayId, out: ArrayId, axes: &Axes) {
        let from = self.arrays[x.index()];
        self.share(out, x);
        let a = &mut self.arrays[out.index()];
        let mut old = from.strides().iter();
        let mut strides = [0; MAX_RANK];
        for (i, s) in strides.iter_mut().enumerate().take(a.shape.rank()) {
            *s = if axes.contains(i) { 1 } else { old.next().copied().unwrap_or(1) };
        }
        a.strides = strides;
    }

    pub(super) fn squeeze(&mut self, x: ArrayId, out: ArrayId, axes: &Axes) {
        let from = self.arrays[x.index()];
        self.share(out, x);
        let mut strides = [0; MAX_RANK];
        let kept = from.strides().iter().enumerate().filter(|(i, _)| !axes.contains(*i));
        kept.enumerate().for_each(|(i, (_, &s))| strides[i] = s);
        self.arrays[out.index()].strides = strides;
    }

    pub(super) fn broadcast(&mut self, x: ArrayId, out: ArrayId) {
        let from = self.arrays[x.index()];
        self.share(out, x);
        let a = &mut self.arrays[out.index()];
        let pad = a.shape.rank() - from.shape.rank();
        let mut strides = [0; MAX_RANK];
        for (i, (&d, &s)) in from.shape.dims().iter().zip(from.strides()).enumerate() {
            strides[pad + i] = if d == 1 { 0 } else { s };
        }
        a.strides = strides;
        if a.size() > from.size() {
            a.flags.row = false;
            a.flags.col = false;
        }
    }

    pub(super) fn slice(&mut self, x: ArrayId, out: ArrayId, steps: &Shape) {
        let from = self.arrays[x.index()];
        self.share(out, x);
        let a = &mut self.arrays[out.index()];
        let mut strides = [0; MAX_RANK];
        let mut extent: i128 = 1;
        for (i, (&s, &step)) in from.strides().iter().zip(steps.dims()).enumerate() {
            strides[i] = s * u64::from(step);
            extent += i128::from(strides[i]) * (i128::from(a.shape.dims()[i]) - 1);
        }
        let (size, flags) = layout::contiguity(&a.shape, &strides);
        a.strides = strides;
        a.data_size = u64::try_from(extent).unwrap_or(0);
        a.flags = layout::Flags { contiguous: size == a.data_size, ..flags };
    }

    pub(super) fn split(&mut self, x: ArrayId, outs: &[ArrayId]) {
        let from = self.arrays[x.index()];
        for &out in outs {
            self.share(out, x);
            let a = &mut self.arrays[out.index()];
            let (size, flags) = layout::contiguity(&a.shape, &from.strides);
            let contiguous = if size == 1 {
                true
            } else if size != from.data_size {
                from.flags.contiguous && (flags.row || flags.col)
            } else {
                from.flags.contiguous
            };
            a.data_size = size;
            a.flags = layout::Flags { contiguous, ..flags };
        }
    }
}
