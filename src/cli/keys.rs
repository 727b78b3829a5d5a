//! Objects that the answers of several commands share.

use crate::estimate::OpenedModel;
use schemars::JsonSchema;
use serde::Serialize;

/// A model in an answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ModelKey {
    /// Name of the model.
    pub id: String,
    /// Format of its weights.
    pub quant: String,
}

impl ModelKey {
    /// The keys of an opened model.
    pub fn of(subject: &OpenedModel) -> Self {
        Self { id: subject.id.clone(), quant: subject.quant.clone() }
    }
}
