//! Routed experts: `mlx_lm/models/switch_layers.py`.

use crate::graph::op::Binary;
use crate::graph::params::{ModuleId, ParamBuilder, Part};
use crate::graph::tape::linalg::Packed;
use crate::graph::tape::{Tape, Var};

/// `SwitchLinear`: one matrix per expert, of which each token uses the chosen ones.
#[derive(Clone, Copy, Debug)]
pub struct SwitchLinear {
    id: ModuleId,
    bias: bool,
}

impl SwitchLinear {
    /// Declares `experts` matrices of `outputs` rows and `inputs` columns.
    pub fn new(
        p: &mut ParamBuilder,
        name: &str,
        inputs: u64,
        outputs: u64,
        experts: u64,
        bias: bool,
    ) -> Self {
        Self { id: p.switch_linear(name, inputs, outputs, experts, bias), bias }
    }

    /// Declares a block-diagonal matrix of `groups` blocks of `outputs` rows and `inputs` columns.
    pub fn grouped(
        p: &mut ParamBuilder,
        name: &str,
        inputs: u64,
        outputs: u64,
        groups: u64,
    ) -> Self {
        Self { id: p.grouped_linear(name, inputs, outputs, groups), bias: false }
    }

    /// The products with the experts `indices`.
    pub fn forward(&self, t: &Tape<'_>, x: Var, indices: Var, sorted: bool) -> Var {
        let y = match t.params().module(self.id).packing {
            Some(packing) => {
                let w = Packed {
                    weight: t.param(self.id, Part::Weight),
                    scales: t.param(self.id, Part::Scales),
                    biases: packing.has_biases().then(|| t.param(self.id, Part::Biases)),
                    packing,
                };
                t.gather_qmm(x, w, indices, sorted)
            }
            None => {
                t.gather_mm(x, t.swapaxes(t.param(self.id, Part::Weight), -1, -2), indices, sorted)
            }
        };
        if !self.bias {
            return y;
        }
        let b = t.expand_dims(t.take(t.param(self.id, Part::Bias), indices), &[-2]);
        t.add(y, b)
    }
}

/// Tokens and indices as the experts get them: in order of expert when there are at least 64 pairs.
struct Routed {
    x: Var,
    indices: Var,
    /// How to undo the sorting.
    inverse: Option<Var>,
}

fn route(t: &Tape<'_>, x: Var, indices: Var) -> Routed {
    let x = t.expand_dims(x, &[-2, -3]);
    if t.shape(indices).elements() < 64 {
        return Routed { x, indices, inverse: None };
    }
    let chosen = t.dim(indices, -1);
    let flat = t.flatten(indices, 0, -1);
    let order = t.argsort(flat, -1);
    let inverse = t.argsort(order, -1);
    let x = t.take(t.flatten(x, 0, -3), t.binary(Binary::FloorDivide, order, i64::from(chosen)));
    let indices = t.take(flat, order);
    Routed { x, indices, inverse: Some(inverse) }
}

fn unroute(t: &Tape<'_>, y: Var, inverse: Option<Var>, indices: Var) -> Var {
    let y = match inverse {
        None => y,
        Some(order) => {
            let y = t.take(y, order);
            let dims: Vec<i64> = t.shape(indices).dims().iter().map(|&n| i64::from(n)).collect();
            t.unflatten(y, 0, &dims)
        }
    };
    t.squeeze(y, &[-2])
}

/// `SwitchGLU`: routed experts with a gated activation.
#[derive(Clone, Copy, Debug)]
pub struct SwitchGlu {
    gate: SwitchLinear,
    up: SwitchLinear,
    down: SwitchLinear,
}

impl SwitchGlu {
    /// Declares `name.{gate,up,down}_proj`.
    pub fn new(
        p: &mut ParamBuilder,
        name: &str,
        width: u64,
        hidden: u64,
        experts: u64,
        bias: bool,
    ) -> Self {
        p.scope(name, |p| Self {
            gate: SwitchLinear::new(p, "gate_proj", width, hidden, experts, bias),
            up: SwitchLinear::new(p, "up_proj", width, hidden, experts, bias),
            down: SwitchLinear::new(p, "down_proj", hidden, width, experts, bias),
        })
    }

    /// The outputs of the chosen experts `[…, chosen, width]`; `activation` gets (gate, up).
    pub fn forward(
        &self,
        t: &Tape<'_>,
        x: Var,
        indices: Var,
        activation: impl FnOnce(&Tape<'_>, Var, Var) -> Var,
    ) -> Var {
        let routed = route(t, x, indices);
        let sorted = routed.inverse.is_some();
        let up = self.up.forward(t, routed.x, routed.indices, sorted);
        let hidden = activation(t, self.gate.forward(t, routed.x, routed.indices, sorted), up);
        unroute(t, self.down.forward(t, hidden, routed.indices, sorted), routed.inverse, indices)
    }
}

/// `SwitchMLP`: routed experts with two matrices.
#[derive(Clone, Copy, Debug)]
pub struct SwitchMlp {
    fc1: SwitchLinear,
    fc2: SwitchLinear,
}

impl SwitchMlp {
    /// Declares `name.fc1` and `name.fc2`.
    pub fn new(
        p: &mut ParamBuilder,
        name: &str,
        width: u64,
        hidden: u64,
        experts: u64,
        bias: bool,
    ) -> Self {
        p.scope(name, |p| Self {
            fc1: SwitchLinear::new(p, "fc1", width, hidden, experts, bias),
            fc2: SwitchLinear::new(p, "fc2", hidden, width, experts, bias),
        })
    }

    /// The outputs of the chosen experts.
    pub fn forward(
        &self,
        t: &Tape<'_>,
        x: Var,
        indices: Var,
        activation: impl FnOnce(&Tape<'_>, Var) -> Var,
    ) -> Var {
        let routed = route(t, x, indices);
        let sorted = routed.inverse.is_some();
        let hidden = activation(t, self.fc1.forward(t, routed.x, routed.indices, sorted));
        unroute(t, self.fc2.forward(t, hidden, routed.indices, sorted), routed.inverse, indices)
    }
}
