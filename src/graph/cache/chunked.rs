//! `ChunkedKVCache`: keys and values of chunked local attention.

use super::buffers::{KvBuffers, in_steps};
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

    /// Up to one token beyond the chunk size they grow as those of a `KVCache` do; from then on every call drops one token and
    /// leaves all else as it was.
    fn advance_singly(&mut self, calls: u32) {
        let valid = self.offset - self.start;
        let growing = self.chunk_size.saturating_add(1).saturating_sub(valid).min(calls);
        in_steps(self.buffers.capacity(), valid, growing).for_each(|n| self.advance(n));
        if let Some(more) = (calls - growing).checked_sub(1) {
            self.advance(1);
            self.start = self.start.saturating_add(more);
            self.offset = self.offset.saturating_add(more);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::shape::Shape;
    use crate::graph::tape::ValueId;
    use crate::model::DType;

    /// Before the chunk is full, at its end and long after, whole steps or not.
    #[test]
    fn single_tokens_at_once_leave_what_they_leave_one_by_one() {
        let room = |tokens: u32| Slot {
            shape: Shape::new(&[1, 8, tokens, 128]),
            dtype: DType::BF16,
            value: ValueId(0),
        };
        for chunk_size in [300, 512, 2048] {
            for stored in [0, 1, 256, 300, 511, 600, 5000] {
                let capacity = stored + (256 - stored % 256) % 256;
                let mut start = ChunkedKvCache::new(chunk_size);
                if stored > 0 {
                    start.buffers = KvBuffers([Some(room(capacity)); 2]);
                    start.offset = stored;
                }
                for calls in [0, 1, 2, 255, 300, 2049, 9000] {
                    let (mut one_by_one, mut at_once) = (start.clone(), start.clone());
                    (0..calls).for_each(|_| one_by_one.advance(1));
                    at_once.advance_singly(calls);
                    assert_eq!(one_by_one, at_once, "{chunk_size} {stored} {calls}");
                }
            }
        }
    }
}
