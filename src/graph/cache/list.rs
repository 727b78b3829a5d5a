//! `CacheList`: several caches of one layer.

use super::{Cache, CacheKind, LayerCache, plain_mask};
use crate::graph::tape::{Mask, Tape};

/// Several caches of one layer, the first of which knows the position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CacheList {
    parts: Vec<Cache>,
}

impl CacheList {
    pub fn new(kinds: &[CacheKind]) -> Self {
        Self { parts: kinds.iter().map(Cache::new).collect() }
    }
}

impl LayerCache for CacheList {
    fn class(&self) -> String {
        let inner: Vec<String> = self.parts.iter().map(|c| c.class()).collect();
        format!("CacheList({})", inner.join(","))
    }

    fn offset(&self) -> u32 {
        self.parts.first().map_or(0, |c| c.offset())
    }

    fn advance(&mut self, tokens: u32) {
        self.parts.iter_mut().for_each(|c| c.advance(tokens));
    }

    fn advance_singly(&mut self, calls: u32) {
        self.parts.iter_mut().for_each(|c| c.advance_singly(calls));
    }

    fn mask<'t>(&self, t: &'t Tape<'t>, n: u32, window: Option<u32>, as_array: bool) -> Mask<'t> {
        match self.parts.first() {
            Some(c) => c.mask(t, n, window, as_array),
            None => plain_mask(t, n, window, as_array),
        }
    }

    fn growing_capacity(&self) -> Option<u32> {
        self.parts.iter().find_map(|c| c.growing_capacity())
    }

    fn parts(&self) -> &[Cache] {
        &self.parts
    }

    fn parts_mut(&mut self) -> &mut [Cache] {
        &mut self.parts
    }
}
