//! The prompt cache of mlx-lm: which arrays each layer keeps, and how they grow.
//!
//! The classes and their growth follow `mlx_lm/models/cache.py` of mlx-lm 0.32. During a traced call a cache records
//! the operations that update it; between calls it only knows shapes. A class is a [`LayerCache`] in a file of its own.

mod absent;
mod arrays;
mod buffers;
mod call;
mod chunked;
mod compressed;
mod kv;
mod layer;
mod list;
mod mask;
mod pool;
mod projected;
mod quantized;
mod rotating;
mod sequences;
mod slot;
#[cfg(test)]
mod tests;

pub(super) use call::{enter, leave, quantize};
pub use call::{follow, held_slots, quantize_shapes};
pub use compressed::{CompressedCache, CompressedSpec};
pub use layer::LayerCache;
pub use mask::{causal_mask, plain_mask};
pub use pool::PoolCache;
pub use projected::ProjectedCache;
pub use slot::{KvArray, KvQuantization, Slot};

use std::any::Any;
use std::ops::{Deref, DerefMut};

/// Caches grow in steps of this many tokens.
pub const STEP: u32 = 256;

/// Cache class of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// A `KVCache` that only calls of a prompt fill, while they are few.
    Projected {
        /// Tokens up to which it is filled.
        most: u32,
        /// Tokens up to which a call does without it.
        step: u32,
    },
    /// `CacheList`: several caches of one layer.
    List(Vec<CacheKind>),
}

impl CacheKind {
    /// Whether caches of several sequences can be merged into one (`merge` of the class in `mlx_lm/models/cache.py`), so
    /// that a server generates for them together.
    #[must_use]
    pub fn merges(&self) -> bool {
        match self {
            Self::Kv | Self::Projected { .. } | Self::Rotating { .. } | Self::Arrays(_) => true,
            Self::List(all) => all.iter().all(Self::merges),
            Self::Chunked { .. } | Self::Compressed(_) | Self::Pool { .. } => false,
        }
    }
}

/// The cache of one layer: a [`LayerCache`] of any class. Two are equal when they are of one class, hold arrays of the
/// same shapes and have seen as many tokens.
#[derive(Clone, Debug)]
pub struct Cache(Box<dyn LayerCache>);

impl PartialEq for Cache {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl Eq for Cache {}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new(kind: &CacheKind) -> Self {
        match kind {
            CacheKind::Kv => Self::of(kv::KvCache::default()),
            CacheKind::Rotating { max_size, keep } => {
                Self::of(rotating::RotatingKvCache::new(*max_size, *keep))
            }
            CacheKind::Chunked { chunk_size } => {
                Self::of(chunked::ChunkedKvCache::new(*chunk_size))
            }
            CacheKind::Arrays(n) => Self::of(arrays::ArraysCache::new(*n)),
            CacheKind::Pool { ratio, width } => Self::of(PoolCache::new(*ratio, *width)),
            CacheKind::Projected { most, step } => Self::of(ProjectedCache::new(*most, *step)),
            CacheKind::Compressed(spec) => Self::of(CompressedCache::new(spec.clone())),
            CacheKind::List(kinds) => Self::of(list::CacheList::new(kinds)),
        }
    }

    /// What stands in the place of a cache where the model is called without one, as in training.
    #[must_use]
    pub fn absent(kind: &CacheKind) -> Self {
        match kind {
            CacheKind::List(kinds) => {
                Self::of(absent::AbsentCache::with_parts(kinds.iter().map(Self::absent).collect()))
            }
            CacheKind::Compressed(_) | CacheKind::Pool { .. } => Self::new(kind),
            CacheKind::Kv
            | CacheKind::Projected { .. }
            | CacheKind::Rotating { .. }
            | CacheKind::Chunked { .. }
            | CacheKind::Arrays(_) => Self::of(absent::AbsentCache::default()),
        }
    }

    /// The cache of a layer that keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::new(&CacheKind::List(Vec::new()))
    }

    fn of(class: impl LayerCache) -> Self {
        Self(Box::new(class))
    }

    /// The cache as one of class `T`, if it is one.
    pub fn of_class<T: LayerCache>(&mut self) -> Option<&mut T> {
        (&mut *self.0 as &mut dyn Any).downcast_mut()
    }

    /// Cache `i` of a `CacheList` (its last one when there are fewer); the cache itself otherwise.
    pub fn part(&mut self, i: usize) -> &mut Self {
        match self.parts().len().checked_sub(1) {
            Some(last) => &mut self.parts_mut()[i.min(last)],
            None => self,
        }
    }
}

impl Deref for Cache {
    type Target = dyn LayerCache;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl DerefMut for Cache {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.0
    }
}
