//! What a class of caches does.

use super::slot::dense;
use super::{Cache, KvArray, KvQuantization, Slot, plain_mask};
use crate::graph::tape::{Mask, Tape, Var};
use std::any::Any;
use std::fmt::Debug;

/// The cache of one layer. What a class does not say it does as caches do that hold nothing: it has no keys, no states
/// and no parts, and attention over it is that of a first call. A model that asks it for what it does not have fails as
/// in mlx-lm: the tape records the failure.
pub trait LayerCache: AnyClass + Debug + Send + Sync {
    /// mlx-lm's name of the class.
    fn class(&self) -> String;

    /// Tokens seen so far.
    fn offset(&self) -> u32;

    /// The arrays of its own, absent ones included. A class has such arrays or parts, not both.
    fn arrays(&self) -> &[Option<Slot>] {
        &[]
    }

    /// The arrays of its own, to be replaced.
    fn arrays_mut(&mut self) -> &mut [Option<Slot>] {
        &mut []
    }

    /// Its arrays and those of its parts, absent ones included.
    fn slots(&self) -> Vec<Option<Slot>> {
        let parts = self.parts().iter().flat_map(|c| c.slots());
        self.arrays().iter().copied().chain(parts).collect()
    }

    /// For every slot of [`LayerCache::slots`], whether it holds keys or values (and not a state).
    fn holds_keys(&self) -> Vec<bool> {
        let own = self.arrays().iter().map(|_| true);
        own.chain(self.parts().iter().flat_map(|c| c.holds_keys())).collect()
    }

    /// The arrays to be replaced, in the order of [`LayerCache::slots`].
    fn slots_mut(&mut self) -> Vec<&mut Option<Slot>> {
        if self.parts().is_empty() {
            return self.arrays_mut().iter_mut().collect();
        }
        self.parts_mut().iter_mut().flat_map(|c| c.slots_mut()).collect()
    }

    /// Array `i` of its own on the tape, if it is set.
    fn array<'t>(&self, t: &'t Tape<'t>, i: usize) -> Option<Var<'t>> {
        self.arrays().get(i).copied().flatten().map(|s| s.var(t))
    }

    /// Sets array `i` of its own; false where there is none.
    fn set_array(&mut self, i: usize, value: Var<'_>) -> bool {
        let slot = self.arrays_mut().get_mut(i);
        slot.map(|slot| *slot = Some(Slot::of(value))).is_some()
    }

    /// Moves the cache on by one call of `tokens` tokens without recording operations. The cache must have been
    /// through a traced call, which fixes the shapes of its arrays.
    fn advance(&mut self, tokens: u32);

    /// Moves the cache on by so many calls of one token each, as [`LayerCache::advance`] does for each of them.
    fn advance_singly(&mut self, calls: u32) {
        (0..calls).for_each(|_| self.advance(1));
    }

    /// Bytes of all arrays.
    fn bytes(&self) -> u64 {
        self.slots().iter().flatten().map(Slot::bytes).sum()
    }

    /// `update_and_fetch`: stores new keys and values `[batch, heads, tokens, width]` and returns all that
    /// attention reads.
    fn update<'t>(&mut self, keys: Var<'t>, values: Var<'t>) -> (KvArray<'t>, KvArray<'t>) {
        let _ = (keys, values);
        nothing(keys.tape())
    }

    /// `keys_and_values`: all stored keys and values, as attention reads them.
    fn keys_and_values<'t>(&self, t: &'t Tape<'t>) -> (KvArray<'t>, KvArray<'t>) {
        nothing(t)
    }

    /// `create_attention_mask` of `mlx_lm/models/base.py` for `n` new tokens.
    fn mask<'t>(&self, t: &'t Tape<'t>, n: u32, window: Option<u32>, as_array: bool) -> Mask<'t> {
        plain_mask(t, n, window, as_array)
    }

    /// Tokens that fit before a cache that keeps all tokens grows.
    fn growing_capacity(&self) -> Option<u32> {
        None
    }

    /// Position of the first token that is still stored; only a chunked cache drops any by position.
    fn start_position(&self) -> u32 {
        0
    }

    /// Drops what a chunked cache no longer needs, before a call.
    fn trim_front(&mut self, t: &Tape<'_>) {
        let _ = t;
    }

    /// The whole buffers of keys and values of a `KVCache`, if they are set.
    fn stored<'t>(&self, t: &'t Tape<'t>) -> Option<(Var<'t>, Var<'t>)> {
        let _ = t;
        None
    }

    /// Replaces the buffers of keys and values of a `KVCache`.
    fn store(&mut self, keys: Var<'_>, values: Var<'_>) {
        let _ = (keys, values);
        keys.tape().fail("this cache has no buffers of keys and values");
    }

    /// State `i` of an `ArraysCache`, if it is set.
    fn state<'t>(&self, t: &'t Tape<'t>, i: usize) -> Option<Var<'t>> {
        let _ = (t, i);
        None
    }

    /// Sets state `i` of an `ArraysCache`.
    fn set_state(&mut self, i: usize, value: Var<'_>) {
        let _ = (i, value);
        value.tape().fail("this cache holds no states");
    }

    /// Makes it keep so many sequences that come and go, as a server's (`merge`).
    fn pad(&mut self, sequences: u32) {
        self.parts_mut().iter_mut().for_each(|c| c.pad(sequences));
    }

    /// Takes its padded sequences out of the batch of prompts: the next call copies their keys and values (`filter`).
    fn move_sequences(&mut self) {
        self.parts_mut().iter_mut().for_each(|c| c.move_sequences());
    }

    /// The caches of a `CacheList`.
    fn parts(&self) -> &[Cache] {
        &[]
    }

    /// The caches of a `CacheList`, to be changed.
    fn parts_mut(&mut self) -> &mut [Cache] {
        &mut []
    }

    /// What `maybe_quantize_kv_cache` puts in the place of this cache after a call, recorded on the tape; `None` where
    /// it stays.
    fn quantized(&self, t: &Tape<'_>, q: KvQuantization) -> Option<Cache> {
        let _ = (t, q);
        None
    }

    /// The same by shapes alone.
    fn quantized_by_shape(&self, q: KvQuantization) -> Option<Cache> {
        let _ = q;
        None
    }
}

/// The answer of a cache that is asked for keys and values and has none.
pub(super) fn nothing<'t>(t: &'t Tape<'t>) -> (KvArray<'t>, KvArray<'t>) {
    let failed = t.fail("this cache holds no keys and values");
    dense((failed, failed))
}

/// Copies and comparisons of caches whose class is not known; every class that can be copied and compared has them.
pub trait AnyClass: Any {
    /// A copy.
    fn copied(&self) -> Box<dyn LayerCache>;

    /// Whether the other cache is of the same class and equal.
    fn equals(&self, other: &dyn LayerCache) -> bool;
}

impl<T: LayerCache + Clone + PartialEq> AnyClass for T {
    fn copied(&self) -> Box<dyn LayerCache> {
        Box::new(self.clone())
    }

    fn equals(&self, other: &dyn LayerCache) -> bool {
        (other as &dyn Any).downcast_ref::<T>().is_some_and(|other| self == other)
    }
}

impl Clone for Box<dyn LayerCache> {
    fn clone(&self) -> Self {
        (**self).copied()
    }
}

impl PartialEq for dyn LayerCache {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

impl Eq for dyn LayerCache {}
