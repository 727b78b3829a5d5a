//! A fine-tuning run of a plan on a Mac.

use crate::advise::check::{
    FineTuningNeeds, JudgedFineTuning, PlannedFineTuning, Remedy, Requirement,
};
use crate::cli::shared::keys::ModelKey;
use crate::cli::shared::training_keys::TrainingRequest;
use crate::estimate::Outcome;
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// A fine-tuning run on a Mac.
#[derive(Serialize, JsonSchema)]
pub(super) struct FineTuningAnswer {
    /// Its name.
    pub name: String,
    /// The base.
    model: ModelKey,
    /// The run.
    request: TrainingRequest,
    /// What it asks for.
    needs: FineTuningNeeds,
    /// Whether all requirements hold.
    pub outcome: Outcome,
    /// Probability that they do.
    probability: f64,
    /// Each requirement.
    pub requirements: Vec<Requirement>,
    /// Changes that make it hold, in order of advice.
    pub changes: Vec<Remedy>,
    /// Parameters that are trained.
    trainable_parameters: u64,
    /// Predicted peak of MLX's memory.
    peak_bytes: Bytes,
    /// Where nine of ten peaks lie.
    peak_interval_90_bytes: [Bytes; 2],
    /// Tokens in the loss per second.
    tokens_per_s: f64,
    /// Where nine of ten measurements lie.
    interval_90: [f64; 2],
    /// Seconds of an iteration.
    seconds_per_iteration: f64,
    /// Seconds of the whole run.
    run_s: f64,
}

impl FineTuningAnswer {
    pub fn of(
        planned: &PlannedFineTuning,
        judged: &JudgedFineTuning,
        changes: Vec<Remedy>,
    ) -> Self {
        let (ledger, speed) = (&judged.estimate.ledger, &judged.estimate.speed);
        let (rate, _, interval_90) = speed.tokens_per_s();
        let counted = |rate: f64| planned.fill * rate;
        let subject = &planned.subject;
        Self {
            name: planned.name.clone(),
            model: ModelKey { id: subject.id.clone(), quant: subject.quant.clone() },
            request: TrainingRequest::of(&planned.training, planned.max_seq_length, planned.iters),
            needs: planned.needs,
            outcome: judged.outcome(),
            probability: judged.probability(),
            requirements: judged.requirements.clone(),
            changes,
            trainable_parameters: ledger.trainable_parameters,
            peak_bytes: Bytes(ledger.peak_bytes),
            peak_interval_90_bytes: judged.estimate.peak_interval_90,
            tokens_per_s: counted(rate),
            interval_90: interval_90.map(counted),
            seconds_per_iteration: speed.seconds_per_iteration,
            run_s: f64::from(planned.iters) * speed.seconds_per_iteration,
        }
    }
}
