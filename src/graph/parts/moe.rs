//! Routing of tokens to experts, as several families share it.

use super::block::FeedForward;
use super::mlp::GatedMlp;
use super::scores::{Divisor, Groups, ScoreRouting};
use crate::graph::prelude::*;

/// Number of routed experts and how many a token uses, under the family's keys.
///
/// # Errors
/// When a key is missing or a token would use more experts than there are.
pub fn experts(c: &Config, total: &str, chosen: &str) -> Result<Experts, ConfigError> {
    let experts = Experts { total: c.positive(total)?, chosen: c.positive(chosen)? };
    if experts.chosen > experts.total {
        return Err(c.invalid(chosen, format!("at most {total} ({})", experts.total)));
    }
    Ok(experts)
}

/// The `k` experts with the highest scores: `argpartition(scores, kth=-k)[..., -k:]` and their scores.
pub fn top_k(t: &Tape<'_>, scores: Var, k: u64) -> (Var, Var) {
    let order = t.argpartition(scores, -(k as i64), -1);
    let indices = t.last(order, -1, k as u32);
    let chosen = t.take_along_axis(scores, indices, -1);
    (indices, chosen)
}

/// Divides the scores of a token by their sum.
pub fn normalise(t: &Tape<'_>, scores: Var) -> Var {
    t.div(scores, t.sum(scores, -1, true))
}

/// The sum of the experts' outputs `[…, k, width]` weighted by their scores, in the type of the outputs.
pub fn combine(t: &Tape<'_>, y: Var, scores: Var) -> Var {
    let dtype = t.dtype(y);
    t.astype(weighted_sum(t, y, scores), dtype)
}

/// The sum of the experts' outputs weighted by their scores.
pub fn weighted_sum(t: &Tape<'_>, y: Var, scores: Var) -> Var {
    t.sum(t.mul(y, t.expand_dims(scores, &[-1])), -2, false)
}

/// Softmax routing with a linear gate: Qwen3 MoE and relatives.
#[derive(Debug)]
pub struct SoftmaxMoe {
    gate: Linear,
    experts: SwitchGlu,
    chosen: u64,
    normalise: bool,
}

impl SoftmaxMoe {
    /// Declares `name.gate` and `name.switch_mlp`.
    pub fn new(
        p: &mut ParamBuilder,
        name: &str,
        width: u64,
        hidden: u64,
        experts: Experts,
        normalise: bool,
    ) -> Self {
        p.scope(name, |p| Self {
            gate: Linear::new(p, "gate", width, experts.total, false),
            experts: SwitchGlu::new(p, "switch_mlp", width, hidden, experts.total, false),
            chosen: experts.chosen,
            normalise,
        })
    }

    /// Chosen experts and their scores.
    pub fn route(&self, t: &Tape<'_>, x: Var) -> (Var, Var) {
        let (indices, scores) = top_k(t, t.softmax(self.gate.forward(t, x), true), self.chosen);
        (indices, if self.normalise { normalise(t, scores) } else { scores })
    }

    /// Outputs of the chosen experts.
    pub fn run(&self, t: &Tape<'_>, x: Var, indices: Var) -> Var {
        self.experts.forward(t, x, indices, activations::swiglu)
    }
}

impl FeedForward for SoftmaxMoe {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        let (indices, scores) = self.route(t, x);
        combine(t, self.run(t, x, indices), scores)
    }
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
    pub normalise: bool,
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
            normalise: c.bool_or("norm_topk_prob", true)?,
            floor: None,
        })
    }

    /// `group_expert_select`: one compiled function. Returns chosen experts and their scores.
    pub fn select(&self, t: &Tape<'_>, gates: Var, bias: Var) -> (Var, Var) {
        let divide = self.chosen > 1 && self.normalise;
        let divisor = match self.floor {
            Some(floor) => Divisor::sum_plus(divide, floor),
            None => Divisor::sum(divide),
        };
        let mut routing = ScoreRouting::new(self.chosen).divided(divisor).scaled(self.scale);
        if self.groups > 1 {
            routing = routing.grouped(self.groups, self.chosen_groups, 0.0);
        }
        let [indices, scores] = t.compiled(|t| routing.select(t, gates, Some(bias)).into());
        (indices, scores)
    }
}

/// Zeroes the scores of all but the `chosen` best groups; a group counts by the sum of its best two.
pub fn mask_groups(t: &Tape<'_>, scores: Var, groups: u64, chosen: u64) -> Var {
    let dropped = groups.saturating_sub(chosen);
    Groups { total: groups, dropped, fill: 0.0 }.mask(t, scores)
}

/// Grouped sigmoid routing with a raw gate matrix and shared experts: DeepSeek-V3 and relatives.
#[derive(Debug)]
pub struct GroupMoe {
    gate: ModuleId,
    bias: ModuleId,
    experts: SwitchGlu,
    shared: Option<GatedMlp>,
    routing: GroupRouting,
}

impl GroupMoe {
    /// Declares `mlp.switch_mlp`, `mlp.gate` and, with `shared` columns, `mlp.shared_experts`.
    pub fn new(
        p: &mut ParamBuilder,
        width: u64,
        hidden: u64,
        experts: Experts,
        shared: Option<u64>,
        routing: GroupRouting,
    ) -> Self {
        p.scope("mlp", |p| Self {
            experts: SwitchGlu::new(p, "switch_mlp", width, hidden, experts.total, false),
            gate: p.raw("gate.weight", &[experts.total, width]),
            bias: p.raw_f32("gate.e_score_correction_bias", &[experts.total]),
            shared: shared.map(|n| GatedMlp::new(p, "shared_experts", width, n, false)),
            routing,
        })
    }
}

impl FeedForward for GroupMoe {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        let gates = t.matmul(x, t.transpose(t.weight(self.gate), &[1, 0]));
        let (indices, scores) = self.routing.select(t, gates, t.weight(self.bias));
        let y = combine(t, self.experts.forward(t, x, indices, activations::swiglu), scores);
        match &self.shared {
            None => y,
            Some(shared) => t.add(y, shared.apply(t, x)),
        }
    }
}
