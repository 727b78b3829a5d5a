//! Copies, updates, reductions and sorting.

use super::Replay;
use super::memory::ArrayId;
use crate::ledger::pages;
use crate::model::DType;

impl Replay<'_> {
    fn copy_into(&mut self, x: ArrayId, out: ArrayId) {
        self.dispatch(&[x], &[out], 1);
        self.current.copied_bytes += self.arrays[out.index()].bytes();
    }

    pub(super) fn contiguous(&mut self, x: ArrayId, out: ArrayId) {
        let a = &self.arrays[x.index()];
        let limit = self.arrays[out.index()].bytes() + pages::PAGE;
        if a.flags.row && self.buffers.size(a.buffer) <= limit {
            self.share(out, x);
        } else {
            self.allocate(out);
            self.copy_into(x, out);
        }
    }

    pub(super) fn concatenate(&mut self, ins: &[ArrayId], out: ArrayId) {
        self.allocate(out);
        for &x in ins {
            self.dispatch(&[x], &[out], 1);
        }
    }

    /// In place when nobody else uses the target, else into a copy.
    pub(super) fn slice_update(&mut self, ins: &[ArrayId], out: ArrayId) {
        let x = ins[0];
        let a = self.arrays[x.index()];
        let whole = a.flags.contiguous && a.size() == a.data_size;
        if whole && self.reusable(x, out) {
            self.share(out, x);
        } else {
            if whole && a.size() > 1 {
                self.allocate_like(out, x);
            } else {
                self.allocate(out);
            }
            self.copy_into(x, out);
            self.arrays[out.index()].origin = a.origin;
        }
        self.dispatch(&[ins[1]], &[out], 1);
    }

    pub(super) fn full(&mut self, out: ArrayId) {
        self.allocate(out);
        self.dispatch(&[], &[out], 1);
    }

    pub(super) fn reduce(&mut self, x: ArrayId, out: ArrayId) {
        if self.arrays[out.index()].size() == self.arrays[x.index()].size() {
            return self.unary(x, out);
        }
        let x = if self.arrays[x.index()].flags.contiguous { x } else { self.copied(x) };
        self.allocate(out);
        self.dispatch(&[x], &[out], 1);
    }

    pub(super) fn scan(&mut self, x: ArrayId, out: ArrayId, axis: usize) {
        let a = self.arrays[x.index()];
        if a.flags.contiguous && a.strides[axis] != 0 {
            if a.item() == self.arrays[out.index()].item() && self.donatable(x) {
                self.share(out, x);
            } else {
                self.allocate_like(out, x);
            }
        } else {
            self.allocate(out);
            self.copy_into(x, out);
        }
        self.dispatch(&[x], &[out], 1);
    }

    /// Up to 512 * 4 elements a row in one kernel, beyond that a merge sort with scratch arrays.
    pub(super) fn sort(&mut self, x: ArrayId, out: ArrayId, axis: usize) {
        let a = self.arrays[x.index()];
        self.allocate(out);
        let length = a.shape.dims().get(axis).copied().unwrap_or(1);
        let block = if a.item() <= 4 { 2048 } else { 1024 };
        let blocks = length.div_ceil(block);
        if blocks <= 1 {
            self.dispatch(&[x], &[out], 1);
            return;
        }
        let scratch = [
            self.temporary(a.shape, a.dtype),
            self.temporary(a.shape, a.dtype),
            self.temporary(a.shape, DType::U32),
            self.temporary(a.shape, DType::U32),
        ];
        let rounds = u32::BITS - (blocks - 1).leading_zeros();
        let [s0, s1, s2, s3] = scratch;
        self.dispatch(&[x, s0, s1, s2, s3], &[out], 2 + 2 * rounds);
    }

    pub(super) fn pad(&mut self, ins: &[ArrayId], out: ArrayId) {
        self.allocate(out);
        self.dispatch(&[ins[1]], &[out], 1);
        self.dispatch(&[ins[0]], &[out], 1);
    }

    pub(super) fn scatter(&mut self, ins: &[ArrayId], out: ArrayId) {
        let x = ins[0];
        if self.arrays[x.index()].flags.row && self.reusable(x, out) {
            self.share(out, x);
        } else {
            self.allocate(out);
            self.copy_into(x, out);
        }
        self.dispatch(&ins[1..], &[out], 1);
    }
}
