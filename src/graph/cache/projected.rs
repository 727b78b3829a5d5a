//! Keys and values by head that a layer keeps beside latent ones while a prompt is read.

use super::kv::KvCache;
use super::{KvArray, LayerCache, Slot};
use crate::graph::tape::{Tape, Var};

/// A `KVCache` that the calls of a prompt fill as long as all tokens came in such calls and are not too many. Others leave
/// it as it is; it is not filled again after one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectedCache {
    kv: KvCache,
    /// Tokens of all calls.
    seen: u32,
    /// Tokens up to which it is filled.
    most: u32,
    /// Tokens up to which a call does without it.
    step: u32,
}

impl ProjectedCache {
    pub(super) fn new(most: u32, step: u32) -> Self {
        Self { kv: KvCache::default(), seen: 0, most, step }
    }

    /// Counts the tokens of a call, and says whether their keys and values are to be stored.
    pub fn stores(&mut self, tokens: u32) -> bool {
        let before = self.seen;
        self.seen = before.saturating_add(tokens);
        tokens > self.step && self.kv.offset == before && self.seen <= self.most
    }
}

impl LayerCache for ProjectedCache {
    fn class(&self) -> String {
        self.kv.class()
    }

    fn offset(&self) -> u32 {
        self.kv.offset
    }

    fn slots(&self) -> Vec<Option<Slot>> {
        self.kv.slots()
    }

    fn slots_mut(&mut self) -> Vec<&mut Option<Slot>> {
        self.kv.slots_mut()
    }

    fn holds_keys(&self) -> Vec<bool> {
        self.kv.holds_keys()
    }

    fn advance(&mut self, tokens: u32) {
        if self.stores(tokens) {
            self.kv.advance(tokens);
        }
    }

    fn advance_singly(&mut self, calls: u32) {
        self.seen = self.seen.saturating_add(calls);
    }

    fn update<'t>(&mut self, keys: Var<'t>, values: Var<'t>) -> (KvArray<'t>, KvArray<'t>) {
        self.kv.update(keys, values)
    }

    fn keys_and_values<'t>(&self, t: &'t Tape<'t>) -> (KvArray<'t>, KvArray<'t>) {
        self.kv.keys_and_values(t)
    }

    fn pad(&mut self, sequences: u32) {
        self.kv.pad(sequences);
    }

    fn move_sequences(&mut self) {
        self.kv.move_sequences();
    }
}
