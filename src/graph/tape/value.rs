//! Values that know their tape.

use super::{Tape, ValueId};
use crate::graph::shape::Shape;
use crate::model::DType;
use std::fmt;

/// A value of the call that is being recorded: an input or the output of an operation. What is done with it is recorded
/// on its tape, by methods named as in `mlx.core` and by the operators `+ - * / & |`.
#[derive(Clone, Copy)]
pub struct Var<'t> {
    pub(super) tape: &'t Tape<'t>,
    id: ValueId,
}

impl PartialEq for Var<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Var<'_> {}

impl fmt::Debug for Var<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

impl<'t> Var<'t> {
    pub(super) const fn new(tape: &'t Tape<'t>, id: ValueId) -> Self {
        Self { tape, id }
    }

    /// The tape that records what is done with the value.
    #[must_use]
    pub const fn tape(self) -> &'t Tape<'t> {
        self.tape
    }

    /// The number of the value in the trace.
    #[must_use]
    pub const fn id(self) -> ValueId {
        self.id
    }

    /// Dimensions.
    #[must_use]
    pub fn shape(self) -> Shape {
        self.tape.trace.borrow().values[self.id.index()].shape
    }

    /// Size of one axis; negative axes count from the end.
    #[must_use]
    pub fn dim(self, axis: i32) -> u32 {
        self.tape.trace.borrow().values[self.id.index()].shape.dim(axis)
    }

    /// Element type.
    #[must_use]
    pub fn dtype(self) -> DType {
        self.tape.trace.borrow().values[self.id.index()].dtype
    }

    /// Position of `axis` in the shape.
    pub(super) fn axis(self, axis: i32, what: &str) -> usize {
        let shape = self.shape();
        shape.index(axis).unwrap_or_else(|| {
            self.tape.fail(format!("{what}: no axis {axis} in an array of shape {shape:?}"));
            0
        })
    }
}
