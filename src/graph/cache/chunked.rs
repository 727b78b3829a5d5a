//! `ChunkedKVCache`: keys and values of chunked local attention.

use super::Slot;
use super::kv::{grown, growth};
use crate::graph::tape::{Tape, Var};

/// The keys and values of at most `chunk_size` past positions; trimmed at the front when asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkedKvCache {
    pub(super) keys: Option<Slot>,
    pub(super) values: Option<Slot>,
    pub(super) offset: u32,
    chunk_size: u32,
    start: u32,
}

impl ChunkedKvCache {
    pub(super) fn new(chunk_size: u32) -> Self {
        Self { keys: None, values: None, offset: 0, chunk_size, start: 0 }
    }

    /// Position of the first token that is still stored.
    #[must_use]
    pub fn start_position(&self) -> u32 {
        self.start
    }

    /// `maybe_trim_front`: drops what is further back than the chunk size.
    pub fn trim_front(&mut self, t: &Tape<'_>) {
        let valid = self.offset - self.start;
        let (Some(k), Some(v)) = (self.keys, self.values) else {
            return;
        };
        if valid > self.chunk_size {
            let trim = valid - self.chunk_size;
            self.start += trim;
            let (k, v) = (t.slice(k.var, 2, trim, valid), t.slice(v.var, 2, trim, valid));
            self.keys = Some(Slot::of(t, k));
            self.values = Some(Slot::of(t, v));
        }
    }

    pub(super) fn update(&mut self, t: &Tape<'_>, keys: Var, values: Var) -> (Var, Var) {
        let new = t.dim(keys, 2);
        let used = self.offset - self.start;
        let capacity = self.keys.map(|s| s.shape.dim(2));
        let (mut k, mut v) = match growth(capacity, used, new) {
            Some(g) => (grown(t, self.keys, keys, &g), grown(t, self.values, values, &g)),
            None => match (self.keys, self.values) {
                (Some(k), Some(v)) => (k.var, v.var),
                _ => (keys, values),
            },
        };
        self.offset = self.offset.saturating_add(new);
        let end = self.offset - self.start;
        k = t.slice_update(k, keys, 2, used);
        v = t.slice_update(v, values, 2, used);
        self.keys = Some(Slot::of(t, k));
        self.values = Some(Slot::of(t, v));
        (t.slice(k, 2, 0, end), t.slice(v, 2, 0, end))
    }

    /// One call of a model that trims the front before it appends.
    pub(super) fn advance(&mut self, new: u32) {
        let valid = self.offset - self.start;
        let mut capacity = self.keys.map_or(0, |s| s.shape.dim(2));
        if valid > self.chunk_size {
            self.start += valid - self.chunk_size;
            capacity = self.chunk_size;
        }
        let used = self.offset - self.start;
        if let Some(g) = growth(Some(capacity), used, new) {
            capacity = g.keep.saturating_add(g.append);
        }
        self.keys = self.keys.map(|s| s.resized(capacity));
        self.values = self.values.map(|s| s.resized(capacity));
        self.offset = self.offset.saturating_add(new);
    }
}
