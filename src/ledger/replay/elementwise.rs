//! Element-wise operations and row-wise kernels: when an output takes over an input's buffer.

use super::memory::{ArrayId, ArrayOrigin};
use super::{Replay, layout};

impl Replay<'_> {
    pub(super) fn unary(&mut self, x: ArrayId, out: ArrayId) {
        if !self.arrays[x.index()].flags.contiguous {
            self.allocate(out);
        } else if self.reusable(x, out) {
            self.share(out, x);
        } else {
            self.allocate_like(out, x);
        }
        self.dispatch(&[x], &[out], 1);
    }

    pub(super) fn binary(&mut self, a: ArrayId, b: ArrayId, out: ArrayId) {
        let (x, y) = (self.arrays[a.index()], self.arrays[b.index()]);
        let (fx, fy) = (x.flags, y.flags);
        if x.data_size == 1 && y.data_size == 1 {
            self.allocate_like(out, a);
        } else if x.data_size == 1 && fy.contiguous {
            self.take_over(out, &[b], Some(b));
        } else if y.data_size == 1 && fx.contiguous {
            self.take_over(out, &[a], Some(a));
        } else if (fx.row && fy.row) || (fx.col && fy.col) {
            self.take_over(out, &[a, b], Some(a));
        } else {
            let size = self.arrays[out.index()].size();
            let mut same = [a, b];
            let mut n = 0;
            for (id, array) in [(a, &x), (b, &y)] {
                if array.flags.row && array.size() == size {
                    same[n] = id;
                    n += 1;
                }
            }
            self.take_over(out, &same[..n], None);
        }
        self.arrays[out.index()].origin = ArrayOrigin::None;
        self.dispatch(&[a, b], &[out], 1);
    }

    /// The output takes the buffer of the first candidate that allows it, or gets a new one.
    fn take_over(&mut self, out: ArrayId, candidates: &[ArrayId], like: Option<ArrayId>) {
        match candidates.iter().find(|&&x| self.reusable(x, out)) {
            Some(&x) => self.share(out, x),
            None => match like {
                Some(like) => self.allocate_like(out, like),
                None => self.allocate(out),
            },
        }
    }

    pub(super) fn select(&mut self, ins: &[ArrayId], out: ArrayId) {
        let all = |test: fn(&layout::Flags) -> bool, r: &Self| {
            ins.iter().all(|a| test(&r.arrays[a.index()].flags))
        };
        if ins.iter().all(|a| self.arrays[a.index()].data_size == 1) {
            self.allocate_like(out, ins[1]);
        } else if all(|f| f.row, self) || all(|f| f.col, self) {
            self.take_over(out, ins, Some(ins[1]));
        } else {
            let rows: smallvec::SmallVec<[ArrayId; 3]> =
                ins.iter().copied().filter(|a| self.arrays[a.index()].flags.row).collect();
            self.take_over(out, &rows, None);
        }
        self.dispatch(ins, &[out], 1);
    }

    /// `compiled_allocate_outputs` (`mlx/backend/common/compiled.cpp`).
    pub(super) fn compiled(&mut self, ins: &[ArrayId], outs: &[ArrayId]) {
        let shape = self.arrays[outs[0].index()].shape;
        let real: smallvec::SmallVec<[ArrayId; 12]> =
            ins.iter().copied().filter(|a| self.arrays[a.index()].shape.rank() > 0).collect();
        let same = real.iter().filter(|a| self.arrays[a.index()].shape == shape).count();
        let mut flat = !real.is_empty() && same == real.len();
        if flat {
            let flags = |a: &ArrayId| self.arrays[a.index()].flags;
            flat = if real.len() == 1 {
                flags(&real[0]).contiguous
            } else {
                real.iter().all(|a| flags(a).row) || real.iter().all(|a| flags(a).col)
            };
        }
        let mut todo = outs;
        for &x in &real {
            let Some((&out, rest)) = todo.split_first() else { break };
            let (a, o) = (&self.arrays[x.index()], &self.arrays[out.index()]);
            let fits = flat || (a.flags.row && a.size() == o.size());
            if a.item() == o.item() && fits && self.donatable(x) {
                self.share(out, x);
                todo = rest;
            }
        }
        let size = shape.elements();
        let like = real.iter().find(|a| self.arrays[a.index()].size() == size).copied();
        for &out in todo {
            match like {
                Some(like) if flat => self.allocate_like(out, like),
                _ => self.allocate(out),
            }
        }
        self.dispatch(ins, outs, 1);
    }

    /// Norms and softmax: in place when the rows lie densely, else through a copy that becomes the output.
    pub(super) fn rowwise(&mut self, ins: &[ArrayId], out: ArrayId, check_rows: bool) {
        let x = ins[0];
        let a = self.arrays[x.index()];
        let rank = a.shape.rank();
        let mut dense = a.flags.contiguous && (rank == 0 || a.stride(-1) == 1);
        if dense && check_rows && rank > 1 {
            let s = a.stride(-2);
            dense = s == 0 || s == u64::from(a.shape.dim(-1)) || a.shape.dim(-2) == 1;
        }
        if !dense {
            self.allocate(out);
            self.dispatch(&[x], &[out], 1);
            self.current.copied_bytes += self.arrays[out.index()].bytes();
        } else if a.item() == self.arrays[out.index()].item() && self.donatable(x) {
            self.share(out, x);
        } else {
            self.allocate_like(out, x);
        }
        self.dispatch(ins, &[out], 1);
    }

    /// `Hadamard::eval_gpu` for blocks of up to 8192 elements: in place, after a copy when the data is not dense.
    pub(super) fn hadamard(&mut self, x: ArrayId, out: ArrayId) {
        let row = self.arrays[x.index()].flags.row;
        if row && self.donatable(x) {
            self.share(out, x);
        } else {
            self.allocate(out);
        }
        if !row {
            self.dispatch(&[x], &[out], 1);
            self.current.copied_bytes += self.arrays[out.index()].bytes();
        }
        self.dispatch(&[x], &[out], 1);
    }

    pub(super) fn logsumexp(&mut self, x: ArrayId, out: ArrayId) {
        let a = self.arrays[x.index()];
        let x = if a.flags.contiguous && a.stride(-1) == 1 { x } else { self.copied(x) };
        self.allocate(out);
        self.dispatch(&[x], &[out], 1);
    }

    pub(super) fn rope(&mut self, ins: &[ArrayId], out: ArrayId, dims: u32) {
        let x = ins[0];
        let a = self.arrays[x.index()];
        let (length, width) = (u64::from(a.shape.dim(-2)), u64::from(a.shape.dim(-1)));
        let rank = a.shape.rank();
        let heads: u64 = a.shape.dims()[1..rank - 2].iter().map(|&n| u64::from(n)).product();
        let mut lead = rank;
        while lead > 3 && a.shape.dims()[rank - lead] == 1 {
            lead -= 1;
        }
        let swapped = rank == 4
            && a.strides[0] == length * heads * width
            && a.strides[1] == width
            && a.strides[2] == heads * width;
        let row = a.flags.row;
        let mut copy = false;
        if u64::from(dims) < width {
            // Only a part turns: the rest is copied first.
            if row && self.reusable(x, out) {
                self.share(out, x);
            } else {
                self.allocate(out);
                copy = true;
            }
        } else if row && self.donatable(x) {
            self.share(out, x);
        } else {
            self.allocate(out);
            copy = !(row || lead == 3 || swapped);
        }
        if copy {
            self.dispatch(&[x], &[out], 1);
            self.current.copied_bytes += self.arrays[out.index()].bytes();
        }
        self.dispatch(ins, &[out], 1);
    }
}
