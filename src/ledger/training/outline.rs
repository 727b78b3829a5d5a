//! What the values of a training step are for, and where in the step a peak lies.

use crate::graph::tape::{Stage, ValueId};
use crate::graph::training::{StateUse, TrainingStep};
use crate::ledger::replay::Purpose;
use rustc_hash::{FxHashMap, FxHashSet};
use schemars::JsonSchema;
use serde::Serialize;

/// A part of a peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct PeakPart {
    /// What for.
    pub part: Purpose,
    /// How much.
    pub bytes: u64,
}

/// Where in a step a peak lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct PeakPlace {
    /// The part of the step.
    pub phase: StepPhase,
    /// The layer, counted from 0, where it lies in one.
    pub layer: Option<u16>,
}

/// A part of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepPhase {
    /// Before the first step: loaded weights are the peak.
    Loaded,
    /// The forward pass.
    Forward,
    /// The loss, and its gradient.
    Loss,
    /// The backward pass.
    Backward,
}

/// What the values of a step are for, and where in it they are made.
pub(super) struct TrainingOutline {
    pub purposes: Vec<Purpose>,
    forward: Vec<bool>,
    stages: FxHashMap<ValueId, Stage>,
}

impl TrainingOutline {
    pub fn of(step: &TrainingStep) -> Self {
        let trace = &step.trace;
        let gradients: FxHashSet<ValueId> = step.gradients.iter().copied().collect();
        let tokens = step.tokens;
        let mut purposes = vec![Purpose::Other; trace.values().len()];
        let mut stages = FxHashMap::default();
        for node in trace.nodes() {
            for &v in trace.outputs(node) {
                stages.insert(v, node.stage);
                let shape = trace.value(v).shape;
                let square =
                    shape.rank() >= 4 && shape.dim(-1) == tokens && shape.dim(-2) == tokens;
                purposes[v.index()] = if gradients.contains(&v) {
                    Purpose::Gradients
                } else if shape.rank() >= 3 && shape.dim(-1) == step.vocabulary {
                    Purpose::Logits
                } else if square {
                    Purpose::Scores
                } else if step.forward[v.index()] {
                    Purpose::Activations
                } else {
                    Purpose::Backward
                };
            }
        }
        for &(slot, v) in &trace.cache {
            if let Some(purpose) = purpose_of(step, slot) {
                purposes[v.index()] = purpose;
            }
        }
        Self { purposes, forward: step.forward.clone(), stages }
    }

    pub fn place(&self, v: ValueId) -> PeakPlace {
        let stage = self.stages.get(&v).copied().unwrap_or(Stage::Head);
        let layer = match stage {
            Stage::Layer(layer) => Some(layer),
            Stage::Embed | Stage::Head => None,
        };
        let phase = match (self.forward.get(v.index()), stage) {
            (_, Stage::Head) => StepPhase::Loss,
            (Some(true), _) => StepPhase::Forward,
            _ => StepPhase::Backward,
        };
        PeakPlace { phase, layer }
    }
}

/// What an array of the state is for; `None` for the batch and gradients, which are told otherwise.
fn purpose_of(step: &TrainingStep, slot: u32) -> Option<Purpose> {
    let array = step.state.get(slot as usize)?;
    match array.use_ {
        StateUse::Trained { adapter: true } => Some(Purpose::Adapters),
        StateUse::Trained { adapter: false } => Some(Purpose::Weights),
        StateUse::Optimizer | StateUse::Random => Some(Purpose::Optimizer),
        StateUse::Lengths | StateUse::Gradient => None,
    }
}
