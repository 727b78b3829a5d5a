//! Routed experts: `mlx_lm/models/switch_layers.py`.

use super::adapted;
use crate::graph::params::{ModuleId, ParamBuilder, Part};
use crate::graph::tape::Var;
use crate::graph::tape::linalg::Packed;

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

    /// The products with the experts `indices`, with an adapter in a training step.
    pub fn forward<'t>(&self, x: Var<'t>, indices: Var<'t>, sorted: bool) -> Var<'t> {
        let y = self.plain(x, indices, sorted);
        match x.tape().adapter(self.id) {
            None => y,
            Some(adapter) => adapted::experts(adapter, x, y, indices, sorted),
        }
    }

    fn plain<'t>(&self, x: Var<'t>, indices: Var<'t>, sorted: bool) -> Var<'t> {
        let t = x.tape();
        let y = match t.params().module(self.id).packing {
            Some(packing) => {
                let w = Packed {
                    weight: t.param(self.id, Part::Weight),
                    scales: t.param(self.id, Part::Scales),
                    biases: packing.has_biases().then(|| t.param(self.id, Part::Biases)),
                    packing,
                };
                x.gather_qmm(w, indices, sorted)
            }
            None => x.gather_mm(t.param(self.id, Part::Weight).swapaxes(-1, -2), indices, sorted),
        };
        if !self.bias {
            return y;
        }
        let b = t.param(self.id, Part::Bias).take(indices).expand_dims(&[-2]);
        y + b
    }
}

/// Tokens and indices as the experts get them: in order of expert when there are at least 64 pairs.
struct Routed<'t> {
    x: Var<'t>,
    indices: Var<'t>,
    /// How to undo the sorting.
    inverse: Option<Var<'t>>,
}

fn route<'t>(x: Var<'t>, indices: Var<'t>) -> Routed<'t> {
    let x = x.expand_dims(&[-2, -3]);
    if indices.shape().elements() < 64 {
        return Routed { x, indices, inverse: None };
    }
    let chosen = indices.dim(-1);
    let flat = indices.flatten(0, -1);
    let order = flat.argsort(-1);
    let inverse = order.argsort(-1);
    let x = x.flatten(0, -3).take(order.floor_divide(i64::from(chosen)));
    let indices = flat.take(order);
    Routed { x, indices, inverse: Some(inverse) }
}

fn unroute<'t>(y: Var<'t>, inverse: Option<Var<'t>>, indices: Var<'t>) -> Var<'t> {
    let y = match inverse {
        None => y,
        Some(order) => {
            let y = y.take(order);
            let dims = indices.shape().signed();
            y.unflatten(0, &dims)
        }
    };
    y.squeeze(&[-2])
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
    pub fn forward<'t>(
        &self,
        x: Var<'t>,
        indices: Var<'t>,
        activation: impl FnOnce(Var<'t>, Var<'t>) -> Var<'t>,
    ) -> Var<'t> {
        let routed = route(x, indices);
        let sorted = routed.inverse.is_some();
        let up = self.up.forward(routed.x, routed.indices, sorted);
        let hidden = activation(self.gate.forward(routed.x, routed.indices, sorted), up);
        unroute(self.down.forward(hidden, routed.indices, sorted), routed.inverse, indices)
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

    /// Declares `name.gate_up_proj`, which holds gate and input of an expert side by side, and `name.down_proj`.
    pub fn joined(p: &mut ParamBuilder, name: &str, width: u64, hidden: u64, experts: u64) -> Self {
        p.scope(name, |p| Self {
            fc1: SwitchLinear::new(p, "gate_up_proj", width, 2 * hidden, experts, false),
            fc2: SwitchLinear::new(p, "down_proj", hidden, width, experts, false),
        })
    }

    /// The outputs of the chosen experts.
    pub fn forward<'t>(
        &self,
        x: Var<'t>,
        indices: Var<'t>,
        activation: impl FnOnce(Var<'t>) -> Var<'t>,
    ) -> Var<'t> {
        let routed = route(x, indices);
        let sorted = routed.inverse.is_some();
        let hidden = activation(self.fc1.forward(routed.x, routed.indices, sorted));
        unroute(self.fc2.forward(hidden, routed.indices, sorted), routed.inverse, indices)
    }
}
