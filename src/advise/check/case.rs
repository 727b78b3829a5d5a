//! A workload as it is judged.

use super::plan::WorkloadNeeds;
use crate::estimate::{OpenedModel, Run};
use crate::graph::Graph;

/// A workload reduced to what is judged.
#[derive(Clone, Copy)]
pub(super) struct CheckCase<'a> {
    /// What the workload's process holds: workloads of the same model in the same format share one.
    pub process: (&'a str, &'a str),
    /// The model as it was opened; `None` where it is one in another format.
    pub subject: Option<&'a OpenedModel>,
    pub graph: &'a Graph,
    pub run: Run,
    pub needs: WorkloadNeeds,
}
