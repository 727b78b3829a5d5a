//! Cache of pooled tokens: one row per full group, and buffers for the group that is still open.

use super::{LayerCache, Slot};
use crate::graph::shape::Shape;
use crate::graph::tape::{Tape, Var, concat};

/// Pooled rows of a layer. The buffers have the size of a group; the pooled rows grow by exactly what they need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolCache {
    ratio: u32,
    width: u32,
    /// Tokens in the buffers.
    open: u32,
    /// Buffers of keys and gates, then the pooled rows.
    slots: Vec<Option<Slot>>,
}

impl PoolCache {
    pub(super) fn new(ratio: u32, width: u32) -> Self {
        Self { ratio: ratio.max(1), width, open: 0, slots: vec![None; 3] }
    }

    /// Pooled rows so far.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.slots[2].map_or(0, |s| s.shape.dim(1))
    }

    /// Takes new keys and gates `[batch, tokens, width]`, the first at position `offset`. Returns the tokens of the
    /// groups that are full now and the position of the first of them, or `None`.
    pub fn accumulate<'t>(
        &mut self,
        new: [Var<'t>; 2],
        offset: u32,
    ) -> Option<([Var<'t>; 2], u32)> {
        let (t, n) = (new[0].tape(), new[0].dim(1));
        for (i, &x) in new.iter().enumerate() {
            if self.slots[i].is_none() {
                let (shape, dtype) = (x.shape().with(1, self.ratio), x.dtype());
                let zeros = t.full(shape, 0.0, dtype);
                self.set_array(i, zeros);
            }
        }
        let (before, total) = (self.open, n.saturating_add(self.open));
        self.open = total % self.ratio;
        if n == 1 {
            for (i, &x) in new.iter().enumerate() {
                self.write(i, x, before);
            }
            let whole = [self.array(t, 0).unwrap_or(new[0]), self.array(t, 1).unwrap_or(new[1])];
            return (self.open == 0)
                .then(|| (whole, (offset.saturating_add(1)).saturating_sub(self.ratio)));
        }
        let usable = total - self.open;
        let mut ready = new;
        let mut start = before;
        if usable > 0 {
            for (i, x) in ready.iter_mut().enumerate() {
                let old = self.array(t, i).unwrap_or(*x).slice(1, 0, before);
                let fresh = (*x).slice(1, 0, usable - before);
                *x = concat([old, fresh], 1);
            }
            start = 0;
        }
        if self.open > 0 {
            for (i, &x) in new.iter().enumerate() {
                let rest = x.last(1, self.open.min(n));
                self.write(i, rest, start);
            }
        }
        (usable > 0).then(|| (ready, offset.saturating_sub(before)))
    }

    fn write(&mut self, i: usize, rows: Var<'_>, at: u32) {
        let buffer = self.array(rows.tape(), i).unwrap_or(rows).slice_update(rows, 1, at);
        self.set_array(i, buffer);
    }

    /// Appends pooled rows, if there are new ones, and returns all.
    pub fn append<'t>(&mut self, t: &'t Tape<'t>, rows: Option<Var<'t>>) -> Option<Var<'t>> {
        let all = match (self.array(t, 2), rows) {
            (old, None) => return old,
            (None, Some(new)) => new,
            (Some(old), Some(new)) => concat([old, new], 1),
        };
        self.set_array(2, all);
        Some(all)
    }
}

impl LayerCache for PoolCache {
    fn class(&self) -> String {
        "PoolingCache".to_owned()
    }

    fn offset(&self) -> u32 {
        self.rows()
    }

    fn arrays(&self) -> &[Option<Slot>] {
        &self.slots
    }

    fn arrays_mut(&mut self) -> &mut [Option<Slot>] {
        &mut self.slots
    }

    /// The pooled rows are keys; the buffers of the open group are states.
    fn holds_keys(&self) -> Vec<bool> {
        vec![false, false, true]
    }

    fn advance(&mut self, tokens: u32) {
        let total = tokens.saturating_add(self.open);
        let rows = self.rows() + total / self.ratio;
        self.open = total % self.ratio;
        if let (true, Some(buffer)) = (rows > 0, self.slots[0]) {
            let shape = Shape::new(&[buffer.shape.dim(0), rows, self.width]);
            self.slots[2] = Some(Slot { shape, ..buffer });
        }
    }

    /// Groups close by positions, however many tokens a call has.
    fn advance_singly(&mut self, calls: u32) {
        if calls > 0 {
            self.advance(calls);
        }
    }
}
