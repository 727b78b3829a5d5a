//! MLPs beside the gated one with three matrices: fused and ungated ones.

use super::frame::FeedForward;
use crate::graph::prelude::*;

/// A gated MLP whose gate and up projections are one matrix.
#[derive(Debug)]
pub struct FusedMlp {
    gate_up: Linear,
    down: Linear,
    gate_last: bool,
}

impl FusedMlp {
    /// Declares the matrices `names` (both projections, down) with the SwiGLU activation, the gate in front.
    pub fn new(p: &mut ParamBuilder, names: [&str; 2], width: u64, hidden: u64) -> Self {
        Self {
            gate_up: Linear::new(p, names[0], width, 2 * hidden, false),
            down: Linear::new(p, names[1], hidden, width, false),
            gate_last: false,
        }
    }

    /// The gate is the second half of the matrix.
    #[must_use]
    pub fn gate_last(mut self) -> Self {
        self.gate_last = true;
        self
    }
}

impl FeedForward for FusedMlp {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        let both = self.gate_up.forward(t, x);
        let [a, b] = t.split_equal(both, -1);
        let (gate, up) = if self.gate_last { (b, a) } else { (a, b) };
        let hidden = activations::swiglu(t, gate, up);
        self.down.forward(t, hidden)
    }
}

/// An activation of one input.
pub type Activation = fn(&Tape<'_>, Var) -> Var;

/// The ungated MLP `down(act(up(x)))`.
#[derive(Debug)]
pub struct PlainMlp {
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl PlainMlp {
    /// Declares the matrices `names` (up, down).
    pub fn new(
        p: &mut ParamBuilder,
        names: [&str; 2],
        width: u64,
        hidden: u64,
        bias: bool,
        activation: Activation,
    ) -> Self {
        Self {
            up: Linear::new(p, names[0], width, hidden, bias),
            down: Linear::new(p, names[1], hidden, width, bias),
            activation,
        }
    }
}

impl FeedForward for PlainMlp {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        let hidden = self.up.forward(t, x);
        let hidden = (self.activation)(t, hidden);
        self.down.forward(t, hidden)
    }
}
