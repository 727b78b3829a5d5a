//! Sequences of a batch that come and go, as in mlx-lm's servers (`BatchKVCache`, `BatchRotatingKVCache`).

use super::mask::padded_mask;
use crate::graph::tape::{Mask, Tape, Var};
use crate::model::DType;

/// Which sequences a cache keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sequences {
    /// Those of the first call, all of one length.
    #[default]
    Fixed,
    /// Those of a server: what pads the shorter ones is hidden by masks, which are arrays.
    Padded {
        /// How many there are.
        count: u32,
        /// Whether the next call copies them into a batch of their own.
        moves: bool,
    },
}

impl Sequences {
    /// So many sequences that come and go (`merge`).
    pub const fn padded(count: u32) -> Self {
        Self::Padded { count, moves: false }
    }

    /// The same, to be copied by the next call (`filter`).
    pub const fn moving(self) -> Self {
        match self {
            Self::Fixed => Self::Fixed,
            Self::Padded { count, .. } => Self::Padded { count, moves: true },
        }
    }

    /// Copies keys or values into a batch of their own where that is due.
    pub fn moved<'t>(self, array: Var<'t>) -> Var<'t> {
        match self {
            Self::Padded { count, moves: true } => {
                let all = array.tape().constant([count].into(), 0.0, DType::I32);
                array.take(all)
            }
            Self::Fixed | Self::Padded { .. } => array,
        }
    }

    /// After they were copied.
    pub const fn settled(self) -> Self {
        match self {
            Self::Fixed => Self::Fixed,
            Self::Padded { count, .. } => Self::padded(count),
        }
    }

    /// The mask that hides what pads them; `None` where they are all of one length.
    pub fn mask<'t>(
        self,
        t: &'t Tape<'t>,
        n: u32,
        offset: u32,
        window: Option<u32>,
    ) -> Option<Mask<'t>> {
        match self {
            Self::Fixed => None,
            Self::Padded { count, .. } => {
                Some(Mask::Array(padded_mask(t, count, n, offset, window)))
            }
        }
    }
}
