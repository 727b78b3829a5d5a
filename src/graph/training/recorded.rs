//! A recorded operation on its way back.

use crate::graph::op::Op;
use crate::graph::tape::{Tape, Var};

/// Gives the gradients of some values with respect to outputs, each given with its own gradient.
pub(super) type Differentiate =
    for<'t> fn(&'t Tape<'t>, &[(Var<'t>, Var<'t>)], &[Var<'t>]) -> Vec<Var<'t>>;

/// A recorded operation whose gradient is wanted.
pub(super) struct Recorded<'t> {
    /// What was done.
    pub op: Op,
    /// Its inputs.
    pub inputs: Vec<Var<'t>>,
    /// Its outputs.
    pub outputs: Vec<Var<'t>>,
    /// Gradients of the outputs.
    pub cotangents: Vec<Var<'t>>,
    /// Differentiates what a gradient records anew.
    pub differentiate: Differentiate,
}

impl<'t> Recorded<'t> {
    /// The gradient of the first output.
    pub fn g(&self) -> Var<'t> {
        self.cotangents[0]
    }

    /// The first input.
    pub fn x(&self) -> Var<'t> {
        self.inputs[0]
    }

    /// No gradient, and the reason.
    pub fn refuse(&self, reason: &str) -> Vec<Var<'t>> {
        vec![self.x().tape().fail(format!("{} has no gradient: {reason}", self.op.name()))]
    }
}
