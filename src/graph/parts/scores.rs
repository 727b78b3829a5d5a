//! Routing by scores: sigmoid or softmax of the router's outputs, with a correction bias that only decides which
//! experts are chosen, with or without groups of experts.

use super::routed::{Gate, Router};
use crate::graph::prelude::*;

/// How the router's outputs become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// Each by itself.
    Sigmoid,
    /// Over all experts.
    Softmax,
    /// The root of the softplus of each.
    SqrtSoftplus,
}

/// How the experts with the highest scores are found. The result is the same; the operations differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `argpartition(-scores, kth=k - 1)[..., :k]`.
    Descending,
    /// `argpartition(scores, kth=-k)[..., -k:]`.
    Ascending,
}

/// What the scores of a token are divided by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Divisor {
    /// Nothing.
    None,
    /// Their sum.
    Sum,
    /// Their sum plus a small number.
    SumPlus(f64),
    /// Their sum, or a small number if that is larger.
    SumAtLeast(f64),
}

impl Divisor {
    /// Their sum plus `epsilon` if `divide`, else nothing.
    #[must_use]
    pub const fn sum_plus(divide: bool, epsilon: f64) -> Self {
        if divide { Self::SumPlus(epsilon) } else { Self::None }
    }

    /// Their sum if `divide`, else nothing.
    #[must_use]
    pub const fn sum(divide: bool) -> Self {
        if divide { Self::Sum } else { Self::None }
    }

    /// The divided scores.
    pub fn apply(self, scores: Var<'_>) -> Var<'_> {
        if self == Self::None {
            return scores;
        }
        let mut total = scores.sum(-1, true);
        if let Self::SumPlus(epsilon) = self {
            total = total + epsilon;
        } else if let Self::SumAtLeast(low) = self {
            total = total.maximum(low);
        }
        scores / total
    }
}

/// Groups of experts, of which only the best are used.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    /// Groups in all.
    pub total: u64,
    /// Groups that are not used.
    pub dropped: u64,
    /// Score of the experts in dropped groups.
    pub fill: f64,
}

/// Settings of the routing.
#[derive(Clone, Copy, Debug)]
pub struct ScoreRouting {
    /// Experts a token uses.
    pub chosen: u64,
    /// How the router's outputs become scores.
    pub score: Score,
    /// Bound of the router's outputs, by a tanh.
    pub cap: Option<f64>,
    /// Groups of experts, if only the best are used.
    pub groups: Option<Groups>,
    /// How the best are found.
    pub order: Order,
    /// What the scores are divided by.
    pub divisor: Divisor,
    /// Factor on the scores; `None` = there is no such multiplication.
    pub scale: Option<f64>,
}

impl ScoreRouting {
    /// Sigmoid scores without groups, normalization or factor.
    #[must_use]
    pub const fn new(chosen: u64) -> Self {
        Self {
            chosen,
            score: Score::Sigmoid,
            cap: None,
            groups: None,
            order: Order::Descending,
            divisor: Divisor::None,
            scale: None,
        }
    }

    /// With a factor on the scores.
    #[must_use]
    pub const fn scaled(self, scale: f64) -> Self {
        Self { scale: Some(scale), ..self }
    }

    /// With a division of the scores.
    #[must_use]
    pub const fn divided(self, divisor: Divisor) -> Self {
        Self { divisor, ..self }
    }

    /// With softmax scores.
    #[must_use]
    pub const fn softmax(self) -> Self {
        Self { score: Score::Softmax, ..self }
    }

    /// With `total` groups of which `kept` are used; experts of the others score `fill`.
    #[must_use]
    pub const fn grouped(self, total: u64, kept: u64, fill: f64) -> Self {
        Self { groups: Some(Groups { total, dropped: total.saturating_sub(kept), fill }), ..self }
    }

    /// The chosen experts and their scores in float32.
    pub fn select<'t>(&self, gates: Var<'t>, bias: Option<Var<'t>>) -> (Var<'t>, Var<'t>) {
        let gates = gates.astype(DType::F32);
        let gates = self.cap.map_or(gates, |cap| (gates / cap).tanh() * cap);
        let original = match self.score {
            Score::Sigmoid => gates.sigmoid(),
            Score::Softmax => gates.softmax(false),
            Score::SqrtSoftplus => gates.compiled(activations::softplus).sqrt(),
        };
        let mut scores = original;
        if let Some(bias) = bias {
            scores = scores + bias;
        }
        if let Some(groups) = &self.groups {
            scores = groups.mask(scores);
        }
        let indices = best(scores, self.chosen, self.order);
        let mut scores = self.divisor.apply(original.take_along_axis(indices, -1));
        if let Some(scale) = self.scale {
            scores = scores * scale;
        }
        (indices, scores)
    }
}

/// The indices of the `k` highest scores.
pub fn best(scores: Var<'_>, k: u64, order: Order) -> Var<'_> {
    match order {
        Order::Descending => {
            let order = (-scores).argpartition(k as i64 - 1, -1);
            order.slice(-1, 0, k as u32)
        }
        Order::Ascending => {
            let order = scores.argpartition(-(k as i64), -1);
            order.last(-1, k as u32)
        }
    }
}

impl Groups {
    /// Overwrites the scores of all but the best groups; a group counts by the sum of its best two.
    pub fn mask<'t>(&self, scores: Var<'t>) -> Var<'t> {
        let scores = scores.unflatten(-1, &[self.total as i64, -1]);
        let best = scores.topk(2).reduce(Reduction::Sum, -1, true);
        let order = best.argpartition(self.dropped as i64 - 1, -2);
        let groups = order.slice(-2, 0, self.dropped as u32);
        let fill = scores.tape().scalar(self.fill, scores.dtype());
        scores.put_along_axis(groups, fill, -2, false).flatten(-2, -1)
    }
}

/// A router that scores with [`ScoreRouting`].
#[derive(Debug)]
pub struct ScoreRouter {
    gate: Gate,
    bias: Option<ModuleId>,
    routing: ScoreRouting,
    wide_input: bool,
    compiled: bool,
    narrow_scores: bool,
}

impl ScoreRouter {
    /// A router that multiplies in the type of the input, is not compiled and returns float32 scores.
    #[must_use]
    pub const fn new(gate: Gate, bias: Option<ModuleId>, routing: ScoreRouting) -> Self {
        Self { gate, bias, routing, wide_input: false, compiled: false, narrow_scores: false }
    }

    /// Multiplies the input in float32.
    #[must_use]
    pub const fn with_wide_input(self) -> Self {
        Self { wide_input: true, ..self }
    }

    /// Is one function under `mx.compile` behind the multiplication.
    #[must_use]
    pub const fn compiled(self) -> Self {
        Self { compiled: true, ..self }
    }

    /// Casts the scores to the type of the input.
    #[must_use]
    pub const fn with_narrow_scores(self) -> Self {
        Self { narrow_scores: true, ..self }
    }

    fn steps<'t>(&self, gates: Var<'t>, bias: Option<Var<'t>>, dtype: DType) -> [Var<'t>; 2] {
        let (indices, scores) = self.routing.select(gates, bias);
        [indices, if self.narrow_scores { scores.astype(dtype) } else { scores }]
    }
}

impl Router for ScoreRouter {
    fn route<'t>(&self, x: Var<'t>) -> (Var<'t>, Var<'t>) {
        let t = x.tape();
        let dtype = x.dtype();
        let input = if self.wide_input { x.astype(DType::F32) } else { x };
        let gates = self.gate.apply(input);
        let bias = self.bias.map(|b| t.weight(b));
        let [indices, scores] = if self.compiled {
            gates.compiled(|gates| self.steps(gates, bias, dtype))
        } else {
            self.steps(gates, bias, dtype)
        };
        (indices, scores)
    }
}

/// The `k` experts with the highest scores: `argpartition(scores, kth=-k)[..., -k:]` and their scores.
pub fn top_k(scores: Var<'_>, k: u64) -> (Var<'_>, Var<'_>) {
    let order = scores.argpartition(-(k as i64), -1);
    let indices = order.last(-1, k as u32);
    let chosen = scores.take_along_axis(indices, -1);
    (indices, chosen)
}

/// Zeroes the scores of all but the `chosen` best groups; a group counts by the sum of its best two.
pub fn mask_groups(scores: Var<'_>, groups: u64, chosen: u64) -> Var<'_> {
    let dropped = groups.saturating_sub(chosen);
    Groups { total: groups, dropped, fill: 0.0 }.mask(scores)
}
