//! Cache of compressed attention: a window of recent rows, rows that stand for closed groups of tokens, and the
//! rows of the group that is still open.

use super::{LayerCache, Slot};
use crate::graph::shape::Shape;
use crate::graph::tape::{Tape, Var, concat};
use crate::model::DType;

/// What a [`CompressedCache`] keeps. All arrays are `[batch, rows, width]` and grow by exactly the rows they need.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CompressedSpec {
    /// Rows of the window, if there is one.
    pub window: Option<u32>,
    /// Tokens of a group; 0 when nothing is compressed.
    pub ratio: u32,
    /// Width and type of each array with one row per closed group.
    pub closed: Vec<(u32, DType)>,
}

/// Window, closed groups and open group of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressedCache {
    spec: CompressedSpec,
    offset: u32,
    slots: Vec<Option<Slot>>,
}

impl CompressedCache {
    /// Slots of the window and of the two arrays of the open group.
    const OTHERS: usize = 3;

    pub(super) fn new(spec: CompressedSpec) -> Self {
        let slots = vec![None; spec.closed.len() + Self::OTHERS];
        Self { spec, offset: 0, slots }
    }

    fn closed_slot(&self, i: usize) -> usize {
        1 + i.min(self.spec.closed.len())
    }

    fn pending_slot(&self, i: usize) -> usize {
        1 + self.spec.closed.len() + i.min(1)
    }

    /// Tokens seen so far.
    #[must_use]
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// Rows in the window.
    #[must_use]
    pub fn window_rows(&self) -> u32 {
        self.slots[0].map_or(0, |s| s.shape.dim(1))
    }

    /// Appends rows to the window, keeps its last rows and returns all.
    pub fn update_window<'t>(&mut self, rows: Var<'t>) -> Var<'t> {
        let window = append(self.array(rows.tape(), 0), rows);
        let kept = window.last(1, self.spec.window.unwrap_or(u32::MAX));
        self.set_array(0, kept);
        self.offset = self.offset.saturating_add(rows.dim(1));
        window
    }

    /// Counts tokens in a cache without a window.
    pub fn count(&mut self, tokens: u32) {
        self.offset = self.offset.saturating_add(tokens);
    }

    /// The rows of the closed groups in array `i`, if a group has been closed.
    #[must_use]
    pub fn closed<'t>(&self, t: &'t Tape<'t>, i: usize) -> Option<Var<'t>> {
        self.array(t, self.closed_slot(i))
    }

    /// Appends rows of closed groups to array `i` and returns all.
    pub fn close<'t>(&mut self, i: usize, rows: Var<'t>) -> Var<'t> {
        let all = append(self.closed(rows.tape(), i), rows);
        self.set_array(self.closed_slot(i), all);
        all
    }

    /// Array `i` (0 or 1) of the open group.
    #[must_use]
    pub fn pending<'t>(&self, t: &'t Tape<'t>, i: usize) -> Option<Var<'t>> {
        self.array(t, self.pending_slot(i))
    }

    /// Sets array `i` of the open group.
    pub fn set_pending(&mut self, i: usize, value: Var<'_>) {
        self.set_array(self.pending_slot(i), value);
    }
}

impl LayerCache for CompressedCache {
    fn class(&self) -> String {
        "LayerCache".to_owned()
    }

    fn offset(&self) -> u32 {
        self.offset
    }

    fn arrays(&self) -> &[Option<Slot>] {
        &self.slots
    }

    fn arrays_mut(&mut self) -> &mut [Option<Slot>] {
        &mut self.slots
    }

    /// The window and the closed groups are keys and values; the open group is a state.
    fn holds_keys(&self) -> Vec<bool> {
        (0..self.slots.len()).map(|i| i <= self.spec.closed.len()).collect()
    }

    fn advance(&mut self, tokens: u32) {
        self.offset = self.offset.saturating_add(tokens);
        if let (Some(slot), Some(limit)) = (&mut self.slots[0], self.spec.window) {
            let rows = slot.shape.dim(1).saturating_add(tokens).min(limit);
            slot.shape = slot.shape.with(1, rows);
        }
        let ratio = self.spec.ratio;
        let closed = self.offset.checked_div(ratio).unwrap_or(0);
        let Some(first) = self.slots.iter().flatten().next().copied() else { return };
        for (i, &(width, dtype)) in self.spec.closed.iter().enumerate() {
            if closed > 0 {
                let shape = Shape::new(&[first.shape.dim(0), closed, width]);
                self.slots[1 + i] = Some(Slot { shape, dtype, ..first });
            }
        }
        if ratio > 1 {
            let open = self.offset % ratio;
            let start = 1 + self.spec.closed.len();
            for slot in self.slots[start..].iter_mut().flatten() {
                slot.shape = slot.shape.with(1, open);
            }
        }
    }

    /// Groups close by positions, however many tokens a call has.
    fn advance_singly(&mut self, calls: u32) {
        if calls > 0 {
            self.advance(calls);
        }
    }
}

fn append<'t>(old: Option<Var<'t>>, new: Var<'t>) -> Var<'t> {
    match old {
        None => new,
        Some(old) => concat([old, new], 1),
    }
}
