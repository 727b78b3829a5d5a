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
pub type Gated = Box<dyn for<'t> Fn(Var<'t>, Var<'t>) -> Var<'t> + Send + Sync>;

impl GatedMlp {
    /// Declares `name.{gate,down,up}_proj`, in this order, with the SwiGLU activation.
    pub fn new(p: &mut ParamBuilder, name: &str, width: u64, hidden: u64, bias: bool) -> Self {
        p.scope(name, |p| {
            let gate = Linear::new(p, "gate_proj", width, hidden, bias);
            let down = Linear::new(p, "down_proj", hidden, width, bias);
            let up = Linear::new(p, "up_proj", width, hidden, bias);
            Self { gate, up, down, activation: Box::new(activations::swiglu) }
        })
    }

    /// The same with `up` before `down`, as about half of mlx-lm's files have them.
    pub fn up_first(p: &mut ParamBuilder, name: &str, width: u64, hidden: u64, bias: bool) -> Self {
        let names = ["gate_proj", "up_proj", "down_proj"];
        p.scope(name, |p| Self::named(p, names, width, hidden, bias))
    }

    /// Declares the matrices under other names (gate, up, down), in this order.
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
        activation: impl for<'t> Fn(Var<'t>, Var<'t>) -> Var<'t> + Send + Sync + 'static,
    ) -> Self {
        self.activation = Box::new(activation);
        self
    }

    /// The clamped SwiGLU activation.
    #[must_use]
    pub fn with_clamp(self, clamp: Clamp) -> Self {
        self.with_activation(move |gate, x| clamp.apply(gate, x))
    }
}

impl fmt::Debug for GatedMlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatedMlp").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl FeedForward for GatedMlp {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let (gate, up) = (self.gate.forward(x), self.up.forward(x));
        let hidden = (self.activation)(gate, up);
        self.down.forward(hidden)
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
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let [a, b] = self.gate_up.forward(x).split_equal(-1);
        let (gate, up) = if self.gate_last { (b, a) } else { (a, b) };
        self.down.forward(activations::swiglu(gate, up))
    }
}

/// An activation of one input.
pub type Activation = fn(Var<'_>) -> Var<'_>;

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
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let hidden = self.up.forward(x);
        let hidden = (self.activation)(hidden);
        self.down.forward(hidden)
    }
}
