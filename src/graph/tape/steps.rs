//! The operations of a trace as a list that can be taken apart and put together again.

use super::{Body, Node, Stage, Trace, Value, ValueId};
use crate::graph::op::Op;
use smallvec::SmallVec;
use std::ops::Range;

/// An operation with what it reads and makes.
#[derive(Clone, Debug)]
pub(in crate::graph) struct TraceStep {
    pub op: Op,
    pub stage: Stage,
    pub scores: bool,
    pub inputs: SmallVec<[ValueId; 4]>,
    pub outputs: SmallVec<[ValueId; 2]>,
}

impl Trace {
    /// The operations, in their order.
    pub(in crate::graph) fn steps(&self) -> Vec<TraceStep> {
        self.steps_in(0..self.nodes.len())
    }

    /// Some of the operations.
    pub(in crate::graph) fn steps_in(&self, range: Range<usize>) -> Vec<TraceStep> {
        let step = |node: &Node| TraceStep {
            op: node.op.clone(),
            stage: node.stage,
            scores: node.scores,
            inputs: self.inputs(node).into(),
            outputs: self.outputs(node).into(),
        };
        self.nodes[range].iter().map(step).collect()
    }

    /// Adds a value that no operation makes yet.
    pub(in crate::graph) fn add_value(&mut self, value: Value) -> ValueId {
        ValueId(super::push_new(&mut self.values, value))
    }

    /// Replaces all operations.
    pub(in crate::graph) fn set_steps(&mut self, steps: Vec<TraceStep>) {
        self.nodes.clear();
        self.links.clear();
        for step in steps {
            self.nodes.push(Node {
                op: step.op,
                stage: step.stage,
                scores: step.scores,
                first_link: u32::try_from(self.links.len()).unwrap_or(u32::MAX),
                inputs: u16::try_from(step.inputs.len()).unwrap_or(u16::MAX),
                outputs: u16::try_from(step.outputs.len()).unwrap_or(u16::MAX),
            });
            self.links.extend_from_slice(&step.inputs);
            self.links.extend_from_slice(&step.outputs);
        }
    }

    /// Adds the members of a fused chain; returns its number.
    pub(in crate::graph) fn add_body(&mut self, body: Body) -> u32 {
        super::push_new(&mut self.bodies, body)
    }
}
