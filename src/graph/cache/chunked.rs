//! `ChunkedKVCache`: keys and values of chunked local attention.

use super::kv::{grown, growth};
use super::slot::dense;
use super::{KvArray, LayerCache, Slot};
use crate::graph::tape::{Tape, Var};

/// The keys and values of at most `chunk_size` past positions; trimmed at the front when asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChunkedKvCache {
    keys: Option<Slot>,
    values: Option<Slot>,
    offset: u32,
    chunk_size: u32,
    start: u32,
}

impl ChunkedKvCache {
    pub fn new(chunk_size: u32) -> Self {
        Self { keys: None, values: None, offset: 0, chunk_size, start: 0 }
    }
}

impl LayerCache for ChunkedKvCache {
    fn class(&self) -> String {
        "ChunkedKVCache".to_owned()
    }

    fn offset(&self) -> u32 {
        self.offset
    }

    fn slots(&self) -> Vec<Option<Slot>> {
        vec![self.keys, self.values]
    }

    fn slots_mut(&mut self) -> Vec<&mut Option<Slot>> {
        vec![&mut self.keys, &mut self.values]
    }

    fn holds_keys(&self) -> Vec<bool> {
        vec![true; 2]
    }

    /// One call of a model that trims the front before it appends.
    fn advance(&mut self, new: u32) {
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

    fn start_position(&self) -> u32 {
        self.start
    }

    /// `maybe_trim_front`: drops what is further back than the chunk size.
    fn trim_front(&mut self, t: &Tape<'_>) {
        let valid = self.offset - self.start;
        let (Some(k), Some(v)) = (self.keys, self.values) else {
            return;
        };
        if valid > self.chunk_size {
            let trim = valid - self.chunk_size;
            self.start += trim;
            let (k, v) = (k.var(t).slice(2, trim, valid), v.var(t).slice(2, trim, valid));
            self.keys = Some(Slot::of(k));
            self.values = Some(Slot::of(v));
        }
    }

    fn update<'t>(&mut self, keys: Var<'t>, values: Var<'t>) -> (KvArray<'t>, KvArray<'t>) {
        let (t, new) = (keys.tape(), keys.dim(2));
        let used = self.offset - self.start;
        let capacity = self.keys.map(|s| s.shape.dim(2));
        let (mut k, mut v) = match growth(capacity, used, new) {
            Some(g) => (grown(self.keys, keys, &g), grown(self.values, values, &g)),
            None => match (self.keys, self.values) {
                (Some(k), Some(v)) => (k.var(t), v.var(t)),
                _ => (keys, values),
            },
        };
        self.offset = self.offset.saturating_add(new);
        let end = self.offset - self.start;
        k = k.slice_update(keys, 2, used);
        v = v.slice_update(values, 2, used);
        self.keys = Some(Slot::of(k));
        self.values = Some(Slot::of(v));
        dense((k.slice(2, 0, end), v.slice(2, 0, end)))
    }
}
