//! Arrays of a cache, and keys and values as attention reads them.

use crate::graph::shape::Shape;
use crate::graph::tape::linalg::Packed;
use crate::graph::tape::{Tape, ValueId, Var};
use crate::model::{DType, Packing};

/// One array of a cache between or during calls. Two are equal when they have the same shape and type.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Dimensions.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
    pub(super) value: ValueId,
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.dtype == other.dtype
    }
}

impl Eq for Slot {}

impl Slot {
    pub(in crate::graph) fn of(var: Var<'_>) -> Self {
        Self { shape: var.shape(), dtype: var.dtype(), value: var.id() }
    }

    /// The array on the tape of the call that is being recorded.
    pub(in crate::graph) fn var<'t>(&self, t: &'t Tape<'t>) -> Var<'t> {
        t.var(self.value)
    }

    /// Bytes of the array.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shape.elements() * self.dtype.bytes()
    }

    pub(super) fn resized(self, tokens: u32) -> Self {
        Self { shape: self.shape.with(2, tokens), ..self }
    }
}

/// Keys or values as attention reads them.
#[derive(Clone, Copy, Debug)]
pub enum KvArray<'t> {
    /// A plain array `[batch, heads, tokens, width]`.
    Dense(Var<'t>),
    /// A quantized one.
    Packed(Packed<'t>),
}

impl<'t> KvArray<'t> {
    /// The plain array; records a failure for a quantized one, which the calling family cannot read.
    pub fn dense(self, t: &'t Tape<'t>) -> Var<'t> {
        match self {
            Self::Dense(v) => v,
            Self::Packed(_) => t.fail("this model's attention cannot read a quantized KV cache"),
        }
    }
}

/// Keys and values that are plain arrays.
pub(super) fn dense<'t>((k, v): (Var<'t>, Var<'t>)) -> (KvArray<'t>, KvArray<'t>) {
    (KvArray::Dense(k), KvArray::Dense(v))
}

/// How `--kv-bits` quantizes a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KvQuantization {
    /// Packing of keys and values: affine, 4 or 8 bits usually.
    pub packing: Packing,
    /// Tokens from which a cache is quantized (`--quantized-kv-start`).
    pub start: u32,
}

impl KvQuantization {
    /// mlx-lm's defaults: group size 64, from 5000 tokens on.
    #[must_use]
    pub const fn bits(bits: u32) -> Self {
        Self { packing: Packing::affine(bits, 64), start: 5000 }
    }

    /// The same for bits that MLX has; `None` for others.
    #[must_use]
    pub const fn of_bits(bits: u32) -> Option<Self> {
        match bits {
            2 | 3 | 4 | 5 | 6 | 8 => Some(Self::bits(bits)),
            _ => None,
        }
    }
}
