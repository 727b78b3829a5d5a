//! A workload as it is judged.

use super::plan::WorkloadNeeds;
use crate::advise::session::SessionSpec;
use crate::estimate::{Basis, OpenedModel, Run};

/// A workload reduced to what is judged.
#[derive(Clone, Copy)]
pub(super) struct CheckCase<'a> {
    /// What the workload's process holds: workloads of the same model in the same format share one.
    pub process: (&'a str, &'a str),
    pub model: &'a OpenedModel,
    /// What the speeds of the model rest on.
    pub basis: &'a Basis,
    /// The model that drafts, where one does.
    pub draft: Option<&'a OpenedModel>,
    /// The session that it is, if it is one.
    pub session: Option<&'a SessionSpec>,
    pub run: Run,
    pub needs: WorkloadNeeds,
}
