//! Fine-tuning with a choice made in one way.

use crate::estimate::TrainingEstimate;
use schemars::JsonSchema;
use serde::Serialize;

/// Fine-tuning with one variant.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct TrainedVariant {
    /// Parameters that are trained.
    pub trainable_parameters: u64,
    /// Bytes that the optimizer keeps.
    pub optimizer_bytes: u64,
    /// Floating-point operations of an iteration with an update.
    pub flops_per_iteration: u64,
    /// Seconds of an iteration.
    pub seconds_per_iteration: f64,
    /// Seconds of a sample.
    pub seconds_per_sample: f64,
}

impl TrainedVariant {
    /// What was found for batches of so many samples.
    pub fn of(found: &TrainingEstimate, batch: u32) -> Self {
        let seconds = found.speed.seconds_per_iteration;
        Self {
            trainable_parameters: found.ledger.trainable_parameters,
            optimizer_bytes: found.ledger.optimizer_bytes,
            flops_per_iteration: found.ledger.flops,
            seconds_per_iteration: seconds,
            seconds_per_sample: seconds / f64::from(batch.max(1)),
        }
    }
}
