//! MLPs: the gated one with three matrices, fused and ungated ones.

use super::block::FeedForward;
use crate::graph::nn::activations::Clamp;
use crate::graph::prelude::*;
use std::fmt;

/// The gated MLP `down(act(gate(x)) * up(x))`.
pub struct GatedMlp {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Gated,
}

/// A gated activation of (gate, x), for example `act(gate) * x`.
pub type Gated = Box<dyn Fn(&Tape<'_>, Var, Var) -> Var + Send + Sync>;

impl GatedMlp {
    /// Declares `name.{gate,up,down}_proj` with the SwiGLU activation.
    pub fn new(p: &mut ParamBuilder, name: &str, width: u64, hidden: u64, bias: bool) -> Self {
        let names = ["gate_proj", "up_proj", "down_proj"];
        p.scope(name, |p| Self::named(p, names, width, hidden, bias))
    }

    /// Declares the matrices under other names (gate, up, down).
    pub fn named(
        p: &mut ParamBuilder,
        names: [&str; 3],
        width: u64,
        hidden: u64,
        bias: bool,
    ) -> Self {
        Self {
            gate: Linear::new(p, names[0], width, hidden, bias),
            up: Linear::new(p, names[1], width, hidden, bias),
            down: Linear::new(p, names[2], hidden, width, bias),
            activation: Box::new(activations::swiglu),
        }
    }

    /// Another activation.
    #[must_use]
    pub fn with_activation(
        mut self,
        activation: impl Fn(&Tape<'_>, Var, Var) -> Var + Send + Sync + 'static,
    ) -> Self {
        self.activation = Box::new(activation);
        self
    }

    /// The clamped SwiGLU activation.
    #[must_use]
    pub fn with_clamp(self, clamp: Clamp) -> Self {
        self.with_activation(move |t, gate, x| clamp.apply(t, gate, x))
    }
}

impl fmt::Debug for GatedMlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatedMlp").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl FeedForward for GatedMlp {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        let (gate, up) = (self.gate.forward(t, x), self.up.forward(t, x));
        let hidden = (self.activation)(t, gate, up);
        self.down.forward(t, hidden)
    }
}

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
        let [a, b] = t.split_equal(self.gate_up.forward(t, x), -1);
        let (gate, up) = if self.gate_last { (b, a) } else { (a, b) };
        self.down.forward(t, activations::swiglu(t, gate, up))
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
