//! `ArraysCache`: states of constant size.

use super::{LayerCache, Slot};
use crate::graph::tape::{Tape, Var};

/// Recurrent or convolution states of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArraysCache {
    slots: Vec<Option<Slot>>,
}

impl ArraysCache {
    pub fn new(count: usize) -> Self {
        Self { slots: vec![None; count] }
    }
}

impl LayerCache for ArraysCache {
    fn class(&self) -> String {
        "ArraysCache".to_owned()
    }

    /// States do not know how many tokens they have seen.
    fn offset(&self) -> u32 {
        0
    }

    fn arrays(&self) -> &[Option<Slot>] {
        &self.slots
    }

    fn arrays_mut(&mut self) -> &mut [Option<Slot>] {
        &mut self.slots
    }

    fn holds_keys(&self) -> Vec<bool> {
        vec![false; self.slots.len()]
    }

    fn advance(&mut self, _tokens: u32) {}

    fn advance_singly(&mut self, _calls: u32) {}

    fn state<'t>(&self, t: &'t Tape<'t>, i: usize) -> Option<Var<'t>> {
        self.array(t, i)
    }

    fn set_state(&mut self, i: usize, value: Var<'_>) {
        if !self.set_array(i, value) {
            value.tape().fail("this cache holds no states");
        }
    }
}
