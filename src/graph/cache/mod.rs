//! The prompt cache of mlx-lm: which arrays each layer keeps, and how they grow.
//!
//! The classes and their growth follow `mlx_lm/models/cache.py` of mlx-lm 0.32. During a traced call a cache records
//! the operations that update it; between calls it only knows shapes.

mod arrays;
mod chunked;
mod compressed;
mod kv;
mod mask;
mod pool;
mod quantised;
mod rotating;

pub use arrays::ArraysCache;
pub use chunked::ChunkedKvCache;
pub use compressed::{CompressedCache, CompressedSpec};
pub use kv::KvCache;
pub use mask::{causal_mask, plain_mask};
pub use pool::PoolCache;
pub use quantised::QuantisedKvCache;
pub use rotating::RotatingKvCache;

use super::sample::Gap;
use super::shape::Shape;
use super::tape::linalg::Packed;
use super::tape::{Mask, Source, Tape, Var};
use crate::model::{DType, Packing};
use mask::offset_mask;

/// Caches grow in steps of this many tokens.
pub const STEP: u32 = 256;

/// Cache class of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheKind {
    /// `KVCache`: all keys and values, grown in steps of 256 tokens.
    Kv,
    /// `RotatingKVCache`: the last `max_size` tokens, the first `keep` of the sequence always included.
    Rotating {
        /// Tokens kept.
        max_size: u32,
        /// Tokens at the start that are never dropped.
        keep: u32,
    },
    /// `ChunkedKVCache`: the tokens of the last `chunk_size` positions.
    Chunked {
        /// Tokens kept after trimming.
        chunk_size: u32,
    },
    /// `ArraysCache`: recurrent or convolution states of constant size.
    Arrays(usize),
    /// `LayerCache` of compressed attention: a window and one row per group of tokens.
    Compressed(CompressedSpec),
    /// `PoolingCache`: one row per group of tokens.
    Pool {
        /// Tokens of a group.
        ratio: u32,
        /// Features of a pooled row.
        width: u32,
    },
    /// `CacheList`: several caches of one layer.
    List(Vec<CacheKind>),
}

/// One array of a cache between or during calls. Two are equal when they have the same shape and type.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Dimensions.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
    pub(super) var: Var,
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.dtype == other.dtype
    }
}

impl Eq for Slot {}

impl Slot {
    pub(super) fn of(t: &Tape<'_>, var: Var) -> Self {
        Self { shape: t.shape(var), dtype: t.dtype(var), var }
    }

    /// Bytes of the array.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shape.elements() * self.dtype.bytes()
    }

    fn resized(self, tokens: u32) -> Self {
        Self { shape: self.shape.with(2, tokens), ..self }
    }
}

/// Keys or values as attention reads them.
#[derive(Clone, Copy, Debug)]
pub enum KvArray {
    /// A plain array `[batch, heads, tokens, width]`.
    Dense(Var),
    /// A quantised one.
    Packed(Packed),
}

impl KvArray {
    /// The plain array; records a failure for a quantised one, which the calling family cannot read.
    pub fn dense(self, t: &Tape<'_>) -> Var {
        match self {
            Self::Dense(v) => v,
            Self::Packed(_) => t.fail("this model's attention cannot read a quantised KV cache"),
        }
    }
}

/// The cache of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cache {
    /// See [`CacheKind::Kv`].
    Kv(KvCache),
    /// A `KVCache` after quantisation.
    Quantised(QuantisedKvCache),
    /// See [`CacheKind::Rotating`].
    Rotating(RotatingKvCache),
    /// See [`CacheKind::Chunked`].
    Chunked(ChunkedKvCache),
    /// See [`CacheKind::Arrays`].
    Arrays(ArraysCache),
    /// See [`CacheKind::Compressed`].
    Compressed(CompressedCache),
    /// See [`CacheKind::Pool`].
    Pool(PoolCache),
    /// See [`CacheKind::List`].
    List(Vec<Cache>),
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new(kind: &CacheKind) -> Self {
        match kind {
            CacheKind::Kv => Self::Kv(KvCache::default()),
            CacheKind::Rotating { max_size, keep } => {
                Self::Rotating(RotatingKvCache::new(*max_size, *keep))
            }
            CacheKind::Chunked { chunk_size } => Self::Chunked(ChunkedKvCache::new(*chunk_size)),
            CacheKind::Arrays(n) => Self::Arrays(ArraysCache::new(*n)),
            CacheKind::Pool { ratio, width } => Self::Pool(PoolCache::new(*ratio, *width)),
            CacheKind::Compressed(spec) => Self::Compressed(CompressedCache::new(spec.clone())),
            CacheKind::List(kinds) => Self::List(kinds.iter().map(Self::new).collect()),
        }
    }

    /// mlx-lm's name of the class.
    #[must_use]
    pub fn class(&self) -> String {
        match self {
            Self::Kv(_) => "KVCache".to_owned(),
            Self::Quantised(_) => "QuantizedKVCache".to_owned(),
            Self::Rotating(_) => "RotatingKVCache".to_owned(),
            Self::Chunked(_) => "ChunkedKVCache".to_owned(),
            Self::Arrays(_) => "ArraysCache".to_owned(),
            Self::Compressed(_) => "LayerCache".to_owned(),
            Self::Pool(_) => "PoolingCache".to_owned(),
            Self::List(caches) => {
                let inner: Vec<String> = caches.iter().map(Self::class).collect();
                format!("CacheList({})", inner.join(","))
            }
        }
    }

    /// Tokens seen so far.
    #[must_use]
    pub fn offset(&self) -> u32 {
        match self {
            Self::Kv(c) => c.offset,
            Self::Quantised(c) => c.offset,
            Self::Rotating(c) => c.offset,
            Self::Chunked(c) => c.offset,
            Self::Arrays(_) => 0,
            Self::Compressed(c) => c.offset,
            Self::Pool(c) => c.rows(),
            Self::List(caches) => caches.first().map_or(0, Self::offset),
        }
    }

    /// Position of the first token that is still stored; only a chunked cache drops any by position.
    #[must_use]
    pub fn start_position(&self) -> u32 {
        match self {
            Self::Chunked(c) => c.start_position(),
            _ => 0,
        }
    }

    /// Drops what a chunked cache no longer needs, before a call.
    pub fn trim_front(&mut self, t: &Tape<'_>) {
        if let Self::Chunked(c) = self {
            c.trim_front(t);
        }
    }

    /// Bytes of all arrays.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.slots().iter().flatten().map(Slot::bytes).sum()
    }

    /// The arrays, absent ones included.
    #[must_use]
    pub fn slots(&self) -> Vec<Option<Slot>> {
        match self {
            Self::Kv(c) => vec![c.keys, c.values],
            Self::Quantised(c) => c.slots().to_vec(),
            Self::Rotating(c) => vec![c.keys, c.values],
            Self::Chunked(c) => vec![c.keys, c.values],
            Self::Arrays(c) => c.slots.clone(),
            Self::Compressed(c) => c.slots.clone(),
            Self::Pool(c) => c.slots.clone(),
            Self::List(caches) => caches.iter().flat_map(Self::slots).collect(),
        }
    }

    /// For every slot of [`Cache::slots`], whether it holds keys or values (and not a state).
    #[must_use]
    pub fn holds_keys(&self) -> Vec<bool> {
        match self {
            Self::List(caches) => caches.iter().flat_map(Self::holds_keys).collect(),
            Self::Arrays(c) => vec![false; c.slots.len()],
            Self::Compressed(c) => c.holds_keys(),
            Self::Pool(_) => vec![false, false, true],
            Self::Quantised(_) => vec![true; 6],
            Self::Kv(_) | Self::Rotating(_) | Self::Chunked(_) => vec![true; 2],
        }
    }

    fn slots_mut(&mut self) -> Vec<&mut Option<Slot>> {
        match self {
            Self::Kv(c) => vec![&mut c.keys, &mut c.values],
            Self::Quantised(c) => c.slots_mut(),
            Self::Rotating(c) => vec![&mut c.keys, &mut c.values],
            Self::Chunked(c) => vec![&mut c.keys, &mut c.values],
            Self::Arrays(c) => c.slots.iter_mut().collect(),
            Self::Compressed(c) => c.slots.iter_mut().collect(),
            Self::Pool(c) => c.slots.iter_mut().collect(),
            Self::List(caches) => caches.iter_mut().flat_map(Self::slots_mut).collect(),
        }
    }

    /// `update_and_fetch`: stores new keys and values `[batch, heads, tokens, width]` and returns all that
    /// attention reads.
    pub fn update(&mut self, t: &Tape<'_>, keys: Var, values: Var) -> (KvArray, KvArray) {
        match self {
            Self::Kv(c) => dense(c.update(t, keys, values)),
            Self::Quantised(c) => {
                let (k, v) = c.update(t, keys, values);
                (KvArray::Packed(k), KvArray::Packed(v))
            }
            Self::Rotating(c) => dense(c.update(t, keys, values)),
            Self::Chunked(c) => dense(c.update(t, keys, values)),
            Self::Arrays(_) | Self::Compressed(_) | Self::Pool(_) | Self::List(_) => nothing(t),
        }
    }

    /// `keys_and_values`: all stored keys and values, as attention reads them.
    pub fn keys_and_values(&self, t: &Tape<'_>) -> (KvArray, KvArray) {
        let (slots, offset) = match self {
            Self::Kv(c) => ((c.keys, c.values), c.offset),
            Self::Rotating(c) => ((c.keys, c.values), c.offset),
            Self::Quantised(c) => {
                return match c.stored(t) {
                    Some((k, v)) => (KvArray::Packed(k), KvArray::Packed(v)),
                    None => nothing(t),
                };
            }
            Self::Chunked(_)
            | Self::Arrays(_)
            | Self::Compressed(_)
            | Self::Pool(_)
            | Self::List(_) => return nothing(t),
        };
        match slots {
            (Some(k), Some(v)) => {
                dense((t.slice(k.var, 2, 0, offset), t.slice(v.var, 2, 0, offset)))
            }
            _ => nothing(t),
        }
    }

    /// The whole buffers of keys and values of a `KVCache`, if they are set.
    #[must_use]
    pub fn stored(&self) -> Option<(Var, Var)> {
        match self {
            Self::Kv(c) => c.keys.zip(c.values).map(|(k, v)| (k.var, v.var)),
            _ => None,
        }
    }

    /// Replaces the buffers of keys and values of a `KVCache`.
    pub fn store(&mut self, t: &Tape<'_>, keys: Var, values: Var) {
        match self {
            Self::Kv(c) => {
                c.keys = Some(Slot::of(t, keys));
                c.values = Some(Slot::of(t, values));
            }
            _ => {
                t.fail("this cache has no buffers of keys and values");
            }
        }
    }

    /// State `i` of an `ArraysCache`, if it is set.
    #[must_use]
    pub fn state(&self, i: usize) -> Option<Var> {
        match self {
            Self::Arrays(c) => c.slots.get(i).copied().flatten().map(|s| s.var),
            _ => None,
        }
    }

    /// Sets state `i` of an `ArraysCache`.
    pub fn set_state(&mut self, t: &Tape<'_>, i: usize, value: Var) {
        let slot = Slot::of(t, value);
        match self {
            Self::Arrays(c) if i < c.slots.len() => c.slots[i] = Some(slot),
            _ => {
                t.fail("this cache holds no states");
            }
        }
    }

    /// The cache of compressed attention, if it is one.
    pub fn compressed(&mut self) -> Option<&mut CompressedCache> {
        match self {
            Self::Compressed(c) => Some(c),
            _ => None,
        }
    }

    /// The cache of pooled tokens, if it is one.
    pub fn pool(&mut self) -> Option<&mut PoolCache> {
        match self {
            Self::Pool(c) => Some(c),
            _ => None,
        }
    }

    /// Cache `i` of a `CacheList` (its last one when there are fewer); the cache itself otherwise.
    pub fn part(&mut self, i: usize) -> &mut Self {
        match self {
            Self::List(caches) => {
                let last = caches.len() - 1; // families never declare an empty list
                &mut caches[i.min(last)]
            }
            other => other,
        }
    }

    /// `create_attention_mask` of `mlx_lm/models/base.py` for `n` new tokens.
    pub fn mask(&self, t: &Tape<'_>, n: u32, window: Option<u32>, as_array: bool) -> Mask {
        match self {
            Self::Kv(c) => offset_mask(t, n, c.offset, window, as_array),
            Self::Quantised(c) => offset_mask(t, n, c.offset, window, as_array),
            Self::Rotating(c) => c.mask(t, n, window, as_array),
            Self::List(caches) => match caches.first() {
                Some(c) => c.mask(t, n, window, as_array),
                None => plain_mask(t, n, window, as_array),
            },
            Self::Chunked(_) | Self::Arrays(_) | Self::Compressed(_) | Self::Pool(_) => {
                plain_mask(t, n, window, as_array)
            }
        }
    }

    /// Tokens that fit before a cache that keeps all tokens grows.
    #[must_use]
    pub fn growing_capacity(&self) -> Option<u32> {
        match self {
            Self::Kv(c) => c.capacity(),
            Self::Quantised(c) => c.capacity(),
            Self::List(caches) => caches.iter().find_map(Self::growing_capacity),
            Self::Rotating(_)
            | Self::Chunked(_)
            | Self::Arrays(_)
            | Self::Compressed(_)
            | Self::Pool(_) => None,
        }
    }

    /// Moves the cache on by one call of `tokens` tokens without recording operations. The cache must have been
    /// through a traced call, which fixes the shapes of its arrays.
    pub fn advance(&mut self, tokens: u32) {
        match self {
            Self::Kv(c) => c.advance(tokens),
            Self::Quantised(c) => c.advance(tokens),
            Self::Rotating(c) => c.advance(tokens),
            Self::Chunked(c) => c.advance(tokens),
            Self::Arrays(_) => {}
            Self::Compressed(c) => c.advance(tokens),
            Self::Pool(c) => c.advance(tokens),
            Self::List(caches) => caches.iter_mut().for_each(|c| c.advance(tokens)),
        }
    }
}

fn nothing(t: &Tape<'_>) -> (KvArray, KvArray) {
    let failed = t.fail("this cache holds no keys and values");
    dense((failed, failed))
}

/// How `--kv-bits` quantises a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KvQuantisation {
    /// Packing of keys and values: affine, 4 or 8 bits usually.
    pub packing: Packing,
    /// Tokens from which a cache is quantised (`--quantized-kv-start`).
    pub start: u32,
}

impl KvQuantisation {
    /// mlx-lm's defaults: group size 64, from 5000 tokens on.
    #[must_use]
    pub const fn bits(bits: u32) -> Self {
        Self { packing: Packing::affine(bits, 64), start: 5000 }
    }
}

/// `maybe_quantize_kv_cache`, after a call: recorded on the tape.
pub(super) fn quantise(caches: &mut [Cache], t: &Tape<'_>, q: KvQuantisation, gap: Gap) {
    for (i, cache) in caches.iter_mut().enumerate() {
        if gap.skips_cache(i) {
            continue;
        }
        match cache {
            Cache::Kv(c) if c.offset >= q.start => {
                *cache = Cache::Quantised(QuantisedKvCache::from_kv(t, c, q.packing));
            }
            Cache::Rotating(c) if c.offset >= q.start => {
                t.fail("mlx-lm cannot quantise the cache of sliding-window layers");
            }
            _ => {}
        }
    }
}

/// `maybe_quantize_kv_cache` by shapes alone.
pub fn quantise_shapes(caches: &mut [Cache], q: KvQuantisation) {
    for cache in caches {
        if let Cache::Kv(c) = cache
            && c.offset >= q.start
        {
            *cache = Cache::Quantised(QuantisedKvCache::by_shape(c, q.packing));
        }
    }
}

fn dense((k, v): (Var, Var)) -> (KvArray, KvArray) {
    (KvArray::Dense(k), KvArray::Dense(v))
}

/// Gives every stored array of the layers that are run a value on the tape.
pub(super) fn enter(caches: &mut [Cache], t: &Tape<'_>, gap: Gap) {
    let mut number = 0;
    for (i, cache) in caches.iter_mut().enumerate() {
        for slot in cache.slots_mut() {
            if let Some(s) = slot.as_mut().filter(|_| !gap.skips_cache(i)) {
                s.var = t.input(s.shape, s.dtype, Source::Cache(number));
            }
            number += 1;
        }
    }
}

/// The values that the cache slots of the layers that were run hold after a call.
pub(super) fn leave(caches: &[Cache], gap: Gap) -> Vec<(u32, Var)> {
    held_slots(caches, gap).map(|(number, slot)| (number, slot.var)).collect()
}

/// The arrays of the layers that are run, with their slots counted over all layers.
pub fn held_slots(caches: &[Cache], gap: Gap) -> impl Iterator<Item = (u32, Slot)> {
    let slots = caches
        .iter()
        .enumerate()
        .flat_map(move |(i, cache)| cache.slots().into_iter().map(move |slot| (i, slot)));
    slots
        .zip(0..)
        .filter(move |((i, _), _)| !gap.skips_cache(*i))
        .filter_map(|((_, slot), number)| slot.map(|s| (number, s)))
}
