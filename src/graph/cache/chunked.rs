//! `ChunkedKVCache`: keys and values of chunked local attention.

use super::buffers::KvBuffers;
use super::{KvArray, LayerCache, Slot};
use crate::graph::tape::{Tape, Var};

/// The keys and values of at most `chunk_size` past positions; trimmed at the front when asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChunkedKvCache {
    buffers: KvBuffers,
    offset: u32,
    chunk_size: u32,
    start: u32,
}

impl ChunkedKvCache {
    pub fn new(chunk_size: u32) -> Self {
        Self { buffers: KvBuffers::default(), offset: 0, chunk_size, start: 0 }
    }
}

impl LayerCache for ChunkedKvCache {
    fn class(&self) -> String {
        "ChunkedKVCache".to_owned()
    }

    fn offset(&self) -> u32 {
        self.offset
    }

    fn arrays(&self) -> &[Option<Slot>] {
        &self.buffers.0
    }

    fn arrays_mut(&mut self) -> &mut [Option<Slot>] {
        &mut self.buffers.0
    }

    /// One call of a model that trims the front before it appends.
    fn advance(&mut self, new: u32) {
        let valid = self.offset - self.start;
        if valid > self.chunk_size {
            self.start += valid - self.chunk_size;
            self.buffers.resize(self.chunk_size);
        }
        self.buffers.grow(self.offset - self.start, new);
        self.offset = self.offset.saturating_add(new);
    }

    fn start_position(&self) -> u32 {
        self.start
    }

    /// `maybe_trim_front`: drops what is further back than the chunk size.
    fn trim_front(&mut self, t: &Tape<'_>) {
        let valid = self.offset - self.start;
        let Some((k, v)) = self.buffers.vars(t) else { return };
        if valid > self.chunk_size {
            let trim = valid - self.chunk_size;
            self.start += trim;
            self.buffers.set(k.slice(2, trim, valid), v.slice(2, trim, valid));
        }
    }

    fn update<'t>(&mut self, keys: Var<'t>, values: Var<'t>) -> (KvArray<'t>, KvArray<'t>) {
        let used = self.offset - self.start;
        self.offset = self.offset.saturating_add(keys.dim(2));
        self.buffers.append(keys, values, used)
    }
}
