//! The masks of attention layers: one rule a layer, one array for all layers with the same rule.

use super::cache::{Cache, CacheKind};
use super::tape::{Mask, Tape, Var};
use std::hash::{Hash, Hasher};

/// Which mask a layer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaskRule {
    /// Full causal attention.
    Full,
    /// Attention to the last tokens only; the size of the window.
    Window(u32),
    /// Full causal attention with the mask as an array.
    FullArray,
    /// Attention to the last tokens only, with the mask as an array.
    WindowArray(u32),
    /// Causal attention within chunks of that many positions; the mask is an array.
    Chunk(u32),
    /// No mask: a recurrent layer that keeps so many states.
    Recurrent(usize),
    /// A layer that has no cache, and no mask either.
    Stateless,
}

impl MaskRule {
    /// The cache class that a layer with this mask usually has.
    #[must_use]
    pub const fn cache(self) -> Option<CacheKind> {
        match self {
            Self::Window(max_size) | Self::WindowArray(max_size) => {
                Some(CacheKind::Rotating { max_size, keep: 0 })
            }
            Self::Chunk(chunk_size) => Some(CacheKind::Chunked { chunk_size }),
            Self::Full | Self::FullArray => Some(CacheKind::Kv),
            Self::Recurrent(states) => Some(CacheKind::Arrays(states)),
            Self::Stateless => None,
        }
    }

    /// A number that differs between rules, and between the `role`s that layers with the same rule have.
    #[must_use]
    pub fn number(self, role: Option<usize>) -> u64 {
        let mut h = rustc_hash::FxHasher::default();
        (self, role).hash(&mut h);
        h.finish()
    }

    /// The mask for `n` new tokens behind those of `cache`.
    pub fn build<'t>(self, t: &'t Tape<'t>, n: u32, cache: &Cache) -> Mask<'t> {
        match self {
            Self::Full => cache.mask(t, n, None, false),
            Self::Window(w) => cache.mask(t, n, Some(w), false),
            Self::FullArray => cache.mask(t, n, None, true),
            Self::Chunk(size) => Mask::Array(chunk_mask(t, n, size, cache)),
            Self::WindowArray(w) => cache.mask(t, n, Some(w), true),
            Self::Recurrent(_) | Self::Stateless => Mask::None,
        }
    }
}

/// The mask of chunked attention: `[n, stored + n]`, true where a key lies in the chunk of the query and not behind
/// it.
fn chunk_mask<'t>(t: &'t Tape<'t>, n: u32, size: u32, cache: &Cache) -> Var<'t> {
    let (first, offset) = (cache.start_position(), cache.offset());
    let end = offset.saturating_add(n);
    let keys = t.arange(first, end);
    let queries = t.arange(offset, end).expand_dims(&[1]);
    let key_chunk = keys.floor_divide(i64::from(size));
    let query_chunk = queries.floor_divide(i64::from(size));
    let distance = (key_chunk - query_chunk).abs();
    let same = distance.equal(0i64);
    let causal = keys.less_equal(queries);
    same & causal
}
