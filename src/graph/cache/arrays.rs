//! `ArraysCache`: states of constant size.

use super::Slot;

/// Recurrent or convolution states of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArraysCache {
    pub(super) slots: Vec<Option<Slot>>,
}

impl ArraysCache {
    pub(super) fn new(count: usize) -> Self {
        Self { slots: vec![None; count] }
    }
}
