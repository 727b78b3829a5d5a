//! `KVCache`: all keys and values of a layer.

use super::buffers::KvBuffers;
use super::layer::nothing;
use super::mask::offset_mask;
use super::quantized::QuantizedKvCache;
use super::sequences::Sequences;
use super::{Cache, KvArray, KvQuantization, LayerCache, Slot};
use crate::graph::tape::{Mask, Tape, Var};

/// All keys and values, in buffers that grow by whole steps of 256 tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KvCache {
    pub buffers: KvBuffers,
    pub offset: u32,
    pub sequences: Sequences,
}

impl LayerCache for KvCache {
    fn class(&self) -> String {
        "KVCache".to_owned()
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

    fn advance(&mut self, new: u32) {
        self.buffers.grow(self.offset, new);
        self.offset = self.offset.saturating_add(new);
    }

    /// A buffer that is full grows by one step, so that a call of whole steps grows it by as much as single tokens do.
    fn advance_singly(&mut self, calls: u32) {
        super::buffers::in_steps(self.buffers.capacity(), self.offset, calls)
            .for_each(|n| self.advance(n));
    }

    fn update<'t>(&mut self, keys: Var<'t>, values: Var<'t>) -> (KvArray<'t>, KvArray<'t>) {
        let start = self.offset;
        self.offset = start.saturating_add(keys.dim(2));
        if let Some((k, v)) = self.buffers.vars(keys.tape()) {
            self.buffers.set(self.sequences.moved(k), self.sequences.moved(v));
        }
        self.sequences = self.sequences.settled();
        self.buffers.append(keys, values, start)
    }

    fn keys_and_values<'t>(&self, t: &'t Tape<'t>) -> (KvArray<'t>, KvArray<'t>) {
        self.buffers.read(t, self.offset).unwrap_or_else(|| nothing(t))
    }

    fn mask<'t>(&self, t: &'t Tape<'t>, n: u32, window: Option<u32>, as_array: bool) -> Mask<'t> {
        let padded = self.sequences.mask(t, n, self.offset, window);
        padded.unwrap_or_else(|| offset_mask(t, n, self.offset, window, as_array))
    }

    fn pad(&mut self, sequences: u32) {
        self.sequences = Sequences::padded(sequences);
    }

    fn move_sequences(&mut self) {
        self.sequences = self.sequences.moving();
    }

    fn growing_capacity(&self) -> Option<u32> {
        self.buffers.capacity()
    }

    fn stored<'t>(&self, t: &'t Tape<'t>) -> Option<(Var<'t>, Var<'t>)> {
        self.buffers.vars(t)
    }

    fn store(&mut self, keys: Var<'_>, values: Var<'_>) {
        self.buffers.set(keys, values);
    }

    fn quantized(&self, t: &Tape<'_>, q: KvQuantization) -> Option<Cache> {
        let packed = || QuantizedKvCache::from_kv(t, &self.buffers, self.offset, q.packing);
        (self.offset >= q.start).then(|| Cache::of(packed()))
    }

    fn quantized_by_shape(&self, q: KvQuantization) -> Option<Cache> {
        let packed = || QuantizedKvCache::by_shape(&self.buffers, self.offset, q.packing);
        (self.offset >= q.start).then(|| Cache::of(packed()))
    }
}
