//! `QuantizedKVCache`: keys and values packed in groups along the head.

use super::buffers::{Growth, KvBuffers, growth};
use super::layer::nothing;
use super::mask::offset_mask;
use super::{KvArray, LayerCache, Slot};
use crate::graph::tape::linalg::Packed;
use crate::graph::tape::{Mask, Tape, Var, concat};
use crate::model::{DType, Packing};

/// A KV cache whose arrays are packed: words, scales and biases of the keys, then of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QuantizedKvCache {
    arrays: [Option<Slot>; 6],
    packing: Packing,
    offset: u32,
}

impl QuantizedKvCache {
    /// `KVCache.to_quantized`: packs the whole buffers of a cache with `offset` tokens.
    pub fn from_kv(t: &Tape<'_>, kv: &KvBuffers, offset: u32, packing: Packing) -> Self {
        let mut arrays = [None; 6];
        for (i, slot) in kv.0.iter().enumerate() {
            if let Some(s) = slot {
                let packed = s.var(t).quantize(packing);
                store(&mut arrays[3 * i..3 * i + 3], packed);
            }
        }
        Self { arrays, packing, offset }
    }

    fn capacity(&self) -> Option<u32> {
        self.arrays[0].map(|s| s.shape.dim(2))
    }

    /// All stored keys and values.
    fn read<'t>(&self, t: &'t Tape<'t>) -> Option<(Packed<'t>, Packed<'t>)> {
        let array = |i: usize| {
            let slot = self.arrays.get(i).copied().flatten()?;
            Some(slot.var(t).slice(2, 0, self.offset))
        };
        let packed = |first: usize| {
            Some(Packed {
                weight: array(first)?,
                scales: array(first + 1)?,
                biases: array(first + 2),
                packing: self.packing,
            })
        };
        Some((packed(0)?, packed(3)?))
    }

    fn grow(&mut self, t: &Tape<'_>, g: &Growth) {
        for slot in self.arrays.iter_mut().flatten() {
            let kept = slot.var(t).slice(2, 0, g.keep);
            let zeros = t.full(slot.shape.with(2, g.append), 0.0, slot.dtype);
            let wide = concat([kept, zeros], 2);
            *slot = Slot::of(wide);
        }
    }

    fn write<'t>(&mut self, first: usize, new: Var<'t>, start: u32) -> Packed<'t> {
        let packed = new.quantize(self.packing);
        let parts = [Some(packed.weight), Some(packed.scales), packed.biases];
        let mut read = [packed.weight; 3];
        for (i, part) in parts.into_iter().enumerate() {
            let (Some(part), Some(slot)) = (part, self.arrays[first + i]) else {
                continue;
            };
            let whole = slot.var(new.tape()).slice_update(part, 2, start);
            self.arrays[first + i] = Some(Slot::of(whole));
            read[i] = whole.slice(2, 0, self.offset);
        }
        Packed {
            weight: read[0],
            scales: read[1],
            biases: packed.biases.map(|_| read[2]),
            packing: self.packing,
        }
    }

    /// The cache that `from_kv` would give, by shapes alone.
    pub fn by_shape(kv: &KvBuffers, offset: u32, packing: Packing) -> Self {
        let mut arrays = [None; 6];
        for (i, slot) in kv.0.into_iter().enumerate() {
            let Some(s) = slot else { continue };
            let wide = s.shape.dim(3);
            let words = (u64::from(wide) * u64::from(packing.bits) / 32) as u32;
            let groups = wide / packing.group.max(1);
            let scales = Slot { shape: s.shape.with(3, groups), ..s };
            arrays[3 * i] = Some(Slot { shape: s.shape.with(3, words), dtype: DType::U32, ..s });
            arrays[3 * i + 1] = Some(scales);
            arrays[3 * i + 2] = packing.has_biases().then_some(scales);
        }
        Self { arrays, packing, offset }
    }
}

impl LayerCache for QuantizedKvCache {
    fn class(&self) -> String {
        "QuantizedKVCache".to_owned()
    }

    fn offset(&self) -> u32 {
        self.offset
    }

    fn arrays(&self) -> &[Option<Slot>] {
        &self.arrays
    }

    fn arrays_mut(&mut self) -> &mut [Option<Slot>] {
        &mut self.arrays
    }

    fn advance(&mut self, new: u32) {
        if let Some(g) = growth(self.capacity(), self.offset, new) {
            let capacity = g.keep.saturating_add(g.append);
            for slot in self.arrays.iter_mut().flatten() {
                *slot = slot.resized(capacity);
            }
        }
        self.offset = self.offset.saturating_add(new);
    }

    /// A buffer that is full grows by one step, so that a call of whole steps grows it by as much as single tokens do.
    fn advance_singly(&mut self, calls: u32) {
        super::buffers::in_steps(self.capacity(), self.offset, calls).for_each(|n| self.advance(n));
    }

    fn update<'t>(&mut self, keys: Var<'t>, values: Var<'t>) -> (KvArray<'t>, KvArray<'t>) {
        let new = keys.dim(2);
        let start = self.offset;
        if let Some(g) = growth(self.capacity(), start, new) {
            self.grow(keys.tape(), &g);
        }
        self.offset = start.saturating_add(new);
        let k = self.write(0, keys, start);
        let v = self.write(3, values, start);
        (KvArray::Packed(k), KvArray::Packed(v))
    }

    fn keys_and_values<'t>(&self, t: &'t Tape<'t>) -> (KvArray<'t>, KvArray<'t>) {
        match self.read(t) {
            Some((k, v)) => (KvArray::Packed(k), KvArray::Packed(v)),
            None => nothing(t),
        }
    }

    fn mask<'t>(&self, t: &'t Tape<'t>, n: u32, window: Option<u32>, as_array: bool) -> Mask<'t> {
        offset_mask(t, n, self.offset, window, as_array)
    }

    fn growing_capacity(&self) -> Option<u32> {
        self.capacity()
    }
}

fn store(slots: &mut [Option<Slot>], packed: Packed<'_>) {
    let parts = [Some(packed.weight), Some(packed.scales), packed.biases];
    for (slot, part) in slots.iter_mut().zip(parts) {
        *slot = part.map(Slot::of);
    }
}
