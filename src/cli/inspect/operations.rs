//! Every operation of a decode step.

use super::{REFERENCE_GPU, STEP_CONTEXT};
use crate::graph::shape::Shape;
use crate::graph::tape::Stage;
use crate::graph::{Call, Graph};
use crate::ledger::cache::{self, PREFILL_STEP};
use crate::model::DType;
use crate::report::{Column, Table};
use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

/// An operation.
#[derive(Serialize, JsonSchema)]
pub(super) struct Operation {
    /// `embed`, the number of a layer, or `head`.
    stage: String,
    /// Name of the operation.
    op: String,
    /// Shapes of its inputs.
    inputs: Vec<Shape>,
    /// Shape of its first output.
    output: Shape,
    /// Type of that output.
    dtype: DType,
}

/// The operations of a step at [`STEP_CONTEXT`] tokens.
pub(super) fn of(graph: &Graph) -> Result<Vec<Operation>> {
    let mut caches = cache::after_prompt(graph, STEP_CONTEXT - 1, PREFILL_STEP, 1, None)?;
    let trace = graph.trace(&mut caches, Call::decode(), REFERENCE_GPU.routing())?;
    let operation = |node| {
        let out = trace.value(trace.outputs(node)[0]);
        Operation {
            stage: match node.stage {
                Stage::Embed => "embed".to_owned(),
                Stage::Head => "head".to_owned(),
                Stage::Layer(i) => i.to_string(),
            },
            op: trace.name(node),
            inputs: trace.inputs(node).iter().map(|v| trace.value(*v).shape).collect(),
            output: out.shape,
            dtype: out.dtype,
        }
    };
    Ok(trace.nodes().iter().map(operation).collect())
}

/// The operations for people.
pub(super) fn table(operations: &[Operation]) -> Table {
    let mut table = Table::new(vec![
        Column::text("part"),
        Column::text("operation"),
        Column::text("inputs"),
        Column::text("output"),
    ]);
    for o in operations {
        let inputs = o.inputs.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(" ");
        table.row([o.stage.clone(), o.op.clone(), inputs, format!("{:?}", o.output)]);
    }
    table
}
