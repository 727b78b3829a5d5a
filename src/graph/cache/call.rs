//! What a traced call does with all caches.

use super::{Cache, KvQuantization, Slot};
use crate::graph::SkippedLayers;
use crate::graph::tape::{Source, Tape, ValueId};

/// `maybe_quantize_kv_cache`, after a call: recorded on the tape.
pub fn quantize(caches: &mut [Cache], t: &Tape<'_>, q: KvQuantization, skipped: &SkippedLayers) {
    for (i, cache) in caches.iter_mut().enumerate() {
        if skipped.skips_cache(i) {
            continue;
        }
        if let Some(quantized) = cache.quantized(t, q) {
            *cache = quantized;
        }
    }
}

/// `maybe_quantize_kv_cache` by shapes alone.
pub fn quantize_shapes(caches: &mut [Cache], q: KvQuantization) {
    for cache in caches {
        if let Some(quantized) = cache.quantized_by_shape(q) {
            *cache = quantized;
        }
    }
}

/// Gives every stored array of the layers that are run a value on the tape.
pub fn enter(caches: &mut [Cache], t: &Tape<'_>, skipped: &SkippedLayers) {
    let mut number = 0;
    for (i, cache) in caches.iter_mut().enumerate() {
        for slot in cache.slots_mut() {
            if let Some(s) = slot.as_mut().filter(|_| !skipped.skips_cache(i)) {
                *s = Slot::of(t.input(s.shape, s.dtype, Source::Cache(number)));
            }
            number += 1;
        }
    }
}

/// The values that the cache slots of the layers that were run hold after a call.
pub fn leave(caches: &[Cache], skipped: &SkippedLayers) -> Vec<(u32, ValueId)> {
    held_slots(caches, skipped).map(|(number, slot)| (number, slot.value)).collect()
}

/// The arrays of the layers that are run, with their slots counted over all layers.
pub fn held_slots(caches: &[Cache], skipped: &SkippedLayers) -> impl Iterator<Item = (u32, Slot)> {
    let slots = caches
        .iter()
        .enumerate()
        .flat_map(move |(i, cache)| cache.slots().into_iter().map(move |slot| (i, slot)));
    slots
        .zip(0..)
        .filter(move |((i, _), _)| !skipped.skips_cache(*i))
        .filter_map(|((_, slot), number)| slot.map(|s| (number, s)))
}

/// The caches of skipped layers become those of the layers like them.
pub fn follow(caches: &mut [Cache], skipped: &SkippedLayers) {
    for i in 0..caches.len() {
        if skipped.skips_cache(i) {
            caches[i] = caches[skipped.cache_like(i)].clone();
        }
    }
}
