//! `KVCache`: all keys and values of a layer.

use super::layer::nothing;
use super::mask::offset_mask;
use super::quantised::QuantisedKvCache;
use super::slot::{dense, read};
use super::{Cache, KvArray, KvQuantisation, LayerCache, STEP, Slot};
use crate::graph::tape::{Mask, Tape, Var, concat};

/// All keys and values, in buffers that grow by whole steps of 256 tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KvCache {
    pub keys: Option<Slot>,
    pub values: Option<Slot>,
    pub offset: u32,
}

/// How the buffers change before new tokens are written.
pub(super) struct Growth {
    /// Tokens that are kept of the old buffer (it is cut when it does not end on a step).
    pub keep: u32,
    /// Tokens appended.
    pub append: u32,
}

/// Growth of a buffer of `capacity` tokens that holds `used` and gets `new` more.
pub(super) fn growth(capacity: Option<u32>, used: u32, new: u32) -> Option<Growth> {
    let append = new.div_ceil(STEP).saturating_mul(STEP);
    match capacity {
        Some(c) if used.saturating_add(new) <= c => None,
        Some(c) => Some(Growth { keep: if used % STEP == 0 { c } else { used }, append }),
        None => Some(Growth { keep: 0, append }),
    }
}

/// The buffer after `growth`, recorded on the tape.
pub(super) fn grown<'t>(old: Option<Slot>, like: Var<'t>, growth: &Growth) -> Var<'t> {
    let shape = like.shape().with(2, growth.append);
    let dtype = like.dtype();
    let zeros = like.tape().full(shape, 0.0, dtype);
    match old {
        None => zeros,
        Some(slot) => {
            let kept = slot.var(like.tape()).slice(2, 0, growth.keep);
            concat([kept, zeros], 2)
        }
    }
}

impl KvCache {
    fn capacity(&self) -> Option<u32> {
        self.keys.map(|s| s.shape.dim(2))
    }
}

impl LayerCache for KvCache {
    fn class(&self) -> String {
        "KVCache".to_owned()
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

    fn advance(&mut self, new: u32) {
        if let Some(g) = growth(self.capacity(), self.offset, new) {
            let capacity = g.keep.saturating_add(g.append);
            self.keys = self.keys.map(|s| s.resized(capacity));
            self.values = self.values.map(|s| s.resized(capacity));
        }
        self.offset = self.offset.saturating_add(new);
    }

    fn update<'t>(&mut self, keys: Var<'t>, values: Var<'t>) -> (KvArray<'t>, KvArray<'t>) {
        let (t, new) = (keys.tape(), keys.dim(2));
        let start = self.offset;
        let (mut k, mut v) = match growth(self.capacity(), start, new) {
            Some(g) => (grown(self.keys, keys, &g), grown(self.values, values, &g)),
            None => match (self.keys, self.values) {
                (Some(k), Some(v)) => (k.var(t), v.var(t)),
                _ => (keys, values),
            },
        };
        self.offset = start.saturating_add(new);
        k = k.slice_update(keys, 2, start);
        v = v.slice_update(values, 2, start);
        self.keys = Some(Slot::of(k));
        self.values = Some(Slot::of(v));
        dense((k.slice(2, 0, self.offset), v.slice(2, 0, self.offset)))
    }

    fn keys_and_values<'t>(&self, t: &'t Tape<'t>) -> (KvArray<'t>, KvArray<'t>) {
        read(t, self.keys, self.values, self.offset).unwrap_or_else(|| nothing(t))
    }

    fn mask<'t>(&self, t: &'t Tape<'t>, n: u32, window: Option<u32>, as_array: bool) -> Mask<'t> {
        offset_mask(t, n, self.offset, window, as_array)
    }

    fn growing_capacity(&self) -> Option<u32> {
        self.capacity()
    }

    fn stored<'t>(&self, t: &'t Tape<'t>) -> Option<(Var<'t>, Var<'t>)> {
        self.keys.zip(self.values).map(|(k, v)| (k.var(t), v.var(t)))
    }

    fn store(&mut self, keys: Var<'_>, values: Var<'_>) {
        self.keys = Some(Slot::of(keys));
        self.values = Some(Slot::of(values));
    }

    fn quantised(&self, t: &Tape<'_>, q: KvQuantisation) -> Option<Cache> {
        (self.offset >= q.start).then(|| Cache::of(QuantisedKvCache::from_kv(t, self, q.packing)))
    }

    fn quantised_by_shape(&self, q: KvQuantisation) -> Option<Cache> {
        (self.offset >= q.start).then(|| Cache::of(QuantisedKvCache::by_shape(self, q.packing)))
    }
}
