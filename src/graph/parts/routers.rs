//! Routers that several families share, and the mixtures of experts that go with them.

use super::mlp::GatedMlp;
use super::routed::{Combine, Gate, RoutedMlp, Router, normalize};
use super::scores::{Divisor, Order, ScoreRouter, ScoreRouting, best};
use crate::graph::prelude::*;

/// Chooses by the router's outputs and takes the softmax over the chosen ones.
#[derive(Debug)]
pub struct LogitRouter {
    /// The router's matrix.
    pub gate: Linear,
    /// Experts a token uses.
    pub chosen: u64,
    /// How they are found.
    pub order: Order,
    /// Whether the chosen outputs become float32 before the softmax, and the scores stay so.
    pub wide: bool,
}

impl LogitRouter {
    /// A router whose scores are of the type of its outputs.
    #[must_use]
    pub const fn new(gate: Linear, chosen: u64, order: Order) -> Self {
        Self { gate, chosen, order, wide: false }
    }
}

impl Router for LogitRouter {
    fn route<'t>(&self, x: Var<'t>) -> (Var<'t>, Var<'t>) {
        let gates = self.gate.forward(x);
        let indices = best(gates, self.chosen, self.order);
        let scores = gates.take_along_axis(indices, -1);
        if self.wide {
            return (indices, scores.astype(DType::F32).softmax(false));
        }
        (indices, scores.softmax(true))
    }
}

/// Softmax over all experts; the scores of the chosen ones are used as they are, or divided by their sum.
#[derive(Debug)]
pub struct SoftmaxRouter {
    /// The router's matrix.
    pub gate: Gate,
    /// Experts a token uses.
    pub chosen: u64,
    /// How they are found.
    pub order: Order,
    /// Whether the scores are divided by their sum.
    pub normalize: bool,
}

impl SoftmaxRouter {
    /// A router that takes the scores as they are.
    #[must_use]
    pub const fn new(gate: Gate, chosen: u64) -> Self {
        Self { gate, chosen, order: Order::Descending, normalize: false }
    }
}

impl Router for SoftmaxRouter {
    fn route<'t>(&self, x: Var<'t>) -> (Var<'t>, Var<'t>) {
        let gates = self.gate.apply(x).softmax(true);
        let indices = best(gates, self.chosen, self.order);
        let scores = gates.take_along_axis(indices, -1);
        (indices, if self.normalize { normalize(scores) } else { scores })
    }
}

/// Softmax routing with a linear gate: Qwen3 MoE and relatives. Declares `name.gate` and `name.switch_mlp`.
pub fn softmax_experts(
    p: &mut ParamBuilder,
    name: &str,
    width: u64,
    hidden: u64,
    experts: Experts,
    normalize: bool,
) -> RoutedMlp {
    p.scope(name, |p| {
        let gate = Gate::Linear(Linear::new(p, "gate", width, experts.total, false));
        let order = Order::Ascending;
        let router = SoftmaxRouter { gate, chosen: experts.chosen, order, normalize };
        RoutedMlp::new(router, SwitchGlu::new(p, "switch_mlp", width, hidden, experts.total, false))
    })
}

/// Adds a shared expert with a gate of its own to routed ones, as the Qwen MoE models have it. Declares
/// `shared_expert` and `shared_expert_gate`.
pub fn with_gated_shared(
    p: &mut ParamBuilder,
    routed: RoutedMlp,
    width: u64,
    hidden: u64,
) -> RoutedMlp {
    let shared = GatedMlp::new(p, "shared_expert", width, hidden, false);
    let gate = Linear::new(p, "shared_expert_gate", width, 1, false);
    routed.combined(Combine::Wide).with_shared(Some(shared)).with_shared_gate(gate)
}

/// Settings of the grouped routing with a correction bias (`noaux_tc`).
#[derive(Clone, Copy, Debug)]
pub struct GroupRouting {
    /// Experts a token uses.
    pub chosen: u64,
    /// Groups of experts.
    pub groups: u64,
    /// Groups a token may use.
    pub chosen_groups: u64,
    /// Factor on the scores.
    pub scale: f64,
    /// Whether the scores are divided by their sum.
    pub normalize: bool,
    /// What is added to that sum so that it is never zero.
    pub floor: Option<f64>,
}

impl GroupRouting {
    /// Reads the keys of the DeepSeek-V3 generation.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn read(c: &Config, chosen: u64) -> Result<Self, ConfigError> {
        Ok(Self {
            chosen,
            groups: c.dim_or("n_group", 1)?,
            chosen_groups: c.dim_or("topk_group", 1)?,
            scale: c.number_or("routed_scaling_factor", 1.0)?,
            normalize: c.bool_or("norm_topk_prob", true)?,
            floor: None,
        })
    }

    /// `group_expert_select`: one compiled function behind the product with a bare matrix.
    #[must_use]
    pub fn router(&self, gate: ModuleId, bias: ModuleId) -> ScoreRouter {
        let divide = self.chosen > 1 && self.normalize;
        let divisor = match self.floor {
            Some(floor) => Divisor::sum_plus(divide, floor),
            None => Divisor::sum(divide),
        };
        let mut routing = ScoreRouting::new(self.chosen).divided(divisor).scaled(self.scale);
        if self.groups > 1 {
            routing = routing.grouped(self.groups, self.chosen_groups, 0.0);
        }
        ScoreRouter::new(Gate::Raw(gate), Some(bias), routing).compiled()
    }
}

/// Grouped sigmoid routing with a raw gate matrix and shared experts: DeepSeek-V3 and relatives. Declares
/// `mlp.switch_mlp`, `mlp.gate` and, with `shared` columns, `mlp.shared_experts`.
pub fn grouped_experts(
    p: &mut ParamBuilder,
    width: u64,
    hidden: u64,
    experts: Experts,
    shared: Option<u64>,
    routing: GroupRouting,
) -> RoutedMlp {
    p.scope("mlp", |p| {
        let mlp = SwitchGlu::new(p, "switch_mlp", width, hidden, experts.total, false);
        let gate = p.raw("gate.weight", &[experts.total, width]);
        let bias = p.raw_f32("gate.e_score_correction_bias", &[experts.total]);
        let shared = shared.map(|n| GatedMlp::up_first(p, "shared_experts", width, n, false));
        RoutedMlp::new(routing.router(gate, bias), mlp).with_shared(shared)
    })
}
