//! Work of a training step: floating-point operations, and weights that are read.

use crate::graph::op::{Op, OpKind, Training};
use crate::graph::tape::{Node, Source, Trace};

/// Work of one iteration.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IterationWork {
    /// Floating-point operations of matrix products.
    pub flops: u64,
    /// Kernels.
    pub dispatches: u64,
    /// Bytes of the model's tensors that matrix products read.
    pub weight_bytes: u64,
}

impl IterationWork {
    /// The work of a recorded step, without its kernels, which a replay counts.
    pub fn of(trace: &Trace) -> Self {
        let mut work = Self::default();
        let mut is_weight: Vec<bool> =
            trace.values().iter().map(|v| matches!(v.source, Source::Param(..))).collect();
        for node in trace.nodes() {
            let inputs = trace.inputs(node);
            match node.op.kind() {
                OpKind::View if inputs.first().is_some_and(|v| is_weight[v.index()]) => {
                    trace.outputs(node).iter().for_each(|v| is_weight[v.index()] = true);
                }
                OpKind::Product | OpKind::ExpertProduct => {
                    work.flops += flops(trace, node);
                    work.weight_bytes += weights(trace, node, &is_weight);
                }
                _ => {}
            }
        }
        work
    }
}

fn flops(trace: &Trace, node: &Node) -> u64 {
    let out = trace.value(trace.outputs(node)[0]).shape;
    let inner = u64::from(trace.value(trace.inputs(node)[0]).shape.dim(-1));
    if node.op == Op::Training(Training::SegmentedMm) {
        // Every row belongs to one matrix.
        return 2 * u64::from(out.dim(-1)) * u64::from(out.dim(-2)) * inner;
    }
    2 * out.elements() * inner
}

/// Bytes of weights that a product reads; of experts those that its pairs can choose.
fn weights(trace: &Trace, node: &Node, is_weight: &[bool]) -> u64 {
    let inputs = trace.inputs(node);
    let some = inputs.iter().filter(|v| is_weight[v.index()]).map(|&v| trace.value(v));
    if node.op.kind() != OpKind::ExpertProduct {
        return some.map(crate::graph::tape::Value::bytes).sum();
    }
    let pairs = inputs.last().map_or(1, |&v| trace.value(v).shape.elements());
    some.map(|v| {
        let experts = u64::from(v.shape.dim(0)).max(1);
        v.bytes() / experts * pairs.min(experts)
    })
    .sum()
}
