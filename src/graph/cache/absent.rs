//! No cache at all: the model is called as in training, on whole sequences.

use super::layer::nothing;
use super::slot::dense;
use super::{Cache, KvArray, LayerCache, Slot};
use crate::graph::tape::{Tape, Var};

/// In the place of the cache of a layer that gets none. It only hands keys and values on to later layers that read the
/// same ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AbsentCache {
    last: Option<[Slot; 2]>,
    parts: Vec<Cache>,
}

impl AbsentCache {
    pub fn with_parts(parts: Vec<Cache>) -> Self {
        Self { last: None, parts }
    }
}

impl LayerCache for AbsentCache {
    fn class(&self) -> String {
        "None".to_owned()
    }

    fn offset(&self) -> u32 {
        0
    }

    fn slots(&self) -> Vec<Option<Slot>> {
        Vec::new()
    }

    fn slots_mut(&mut self) -> Vec<&mut Option<Slot>> {
        Vec::new()
    }

    fn holds_keys(&self) -> Vec<bool> {
        Vec::new()
    }

    fn advance(&mut self, _tokens: u32) {}

    fn advance_singly(&mut self, _calls: u32) {}

    fn update<'t>(&mut self, keys: Var<'t>, values: Var<'t>) -> (KvArray<'t>, KvArray<'t>) {
        self.last = Some([Slot::of(keys), Slot::of(values)]);
        dense((keys, values))
    }

    fn keys_and_values<'t>(&self, t: &'t Tape<'t>) -> (KvArray<'t>, KvArray<'t>) {
        match &self.last {
            Some([k, v]) => dense((k.var(t), v.var(t))),
            None => nothing(t),
        }
    }

    fn set_state(&mut self, _i: usize, _value: Var<'_>) {}

    fn parts(&self) -> &[Cache] {
        &self.parts
    }

    fn parts_mut(&mut self) -> &mut [Cache] {
        &mut self.parts
    }
}
