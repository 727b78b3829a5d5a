//! One choice of a fine-tuning run varied: checkpointing, layers, batch; and the peak by length for batches with and without
//! checkpointing.

use crate::estimate::training::highest_peak;
use crate::estimate::{Estimator, TrainingEstimate, gpu};
use crate::graph::training::FineTuning;
use crate::hardware::machine::Machine;
use crate::ledger::training::TrainingError;
use rayon::prelude::*;

/// A choice that is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainingChoice {
    /// Whether blocks are run again in the backward pass.
    Checkpoint,
    /// How many blocks are trained.
    Layers,
    /// Samples in a batch.
    Batch,
}

/// Numbers of blocks that are tried.
const LAYERS: [u32; 5] = [4, 8, 16, 32, 64];
/// Batches that are tried.
const BATCHES: [u32; 5] = [1, 2, 4, 8, 16];

/// A run with the choice made in one way.
#[derive(Clone, Debug)]
pub struct VariedRun {
    /// The choice in words.
    pub name: String,
    /// The run.
    pub run: FineTuning,
    /// What it takes, or why mlx-lm refuses it.
    pub found: Result<TrainingEstimate, TrainingError>,
}

/// The run with a choice made in each way that is worth a look, its own among them.
#[must_use]
pub fn varied(
    estimator: &Estimator<'_>,
    machine: &Machine,
    run: &FineTuning,
    choice: TrainingChoice,
) -> Vec<VariedRun> {
    let runs = match choice {
        TrainingChoice::Checkpoint => [(false, "off"), (true, "on")]
            .map(|(checkpoint, name)| (name.to_owned(), FineTuning { checkpoint, ..run.clone() }))
            .to_vec(),
        TrainingChoice::Layers => layers(run, estimator.graph().layers()),
        TrainingChoice::Batch => with(BATCHES.to_vec(), Some(run.batch))
            .into_iter()
            .map(|batch| (batch.to_string(), FineTuning { batch, ..run.clone() }))
            .collect(),
    };
    let of = |(name, run): (String, FineTuning)| {
        let found = estimator.fine_tuning(machine, &run);
        VariedRun { name, run, found }
    };
    runs.into_par_iter().map(of).collect()
}

/// Fewer blocks than there are, and all of them.
fn layers(run: &FineTuning, of_model: u64) -> Vec<(String, FineTuning)> {
    let fewer = |n: &u32| u64::from(*n) < of_model;
    let some = with(LAYERS.into_iter().filter(fewer).collect(), run.layers.filter(fewer));
    let one = |n: u32| (n.to_string(), FineTuning { layers: Some(n), ..run.clone() });
    let all = (format!("all {of_model}"), FineTuning { layers: None, ..run.clone() });
    some.into_iter().map(one).chain([all]).collect()
}

/// The numbers with one more, in order.
fn with(mut numbers: Vec<u32>, more: Option<u32>) -> Vec<u32> {
    numbers.extend(more);
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The peak by the length of samples, of one batch.
#[derive(Clone, Debug)]
pub struct PeaksByLength {
    /// Samples in a batch.
    pub batch: u32,
    /// Whether blocks are run again.
    pub checkpoint: bool,
    /// Tokens of a sample, and the peak in bytes.
    pub points: Vec<(u32, u64)>,
}

/// The peak by the length of samples for batches, with and without checkpointing.
///
/// # Errors
/// When mlx-lm refuses the run or cannot differentiate the model.
pub fn peaks_by_length(
    estimator: &Estimator<'_>,
    machine: &Machine,
    run: &FineTuning,
    (batches, lengths): (&[u32], &[u32]),
) -> Result<Vec<PeaksByLength>, TrainingError> {
    let gpu = gpu(machine, &estimator.run().engine);
    let all = batches.iter().flat_map(|&batch| [(batch, false), (batch, true)]);
    let all: Vec<(u32, bool)> = all.collect();
    let curve = |(batch, checkpoint): (u32, bool)| {
        let at = |&tokens: &u32| {
            let run = FineTuning { batch, checkpoint, tokens, ..run.clone() };
            Ok((tokens, highest_peak(estimator.graph(), &run, gpu)?.peak_bytes))
        };
        let points = lengths.par_iter().map(at).collect::<Result<_, TrainingError>>()?;
        Ok(PeaksByLength { batch, checkpoint, points })
    };
    all.into_par_iter().map(curve).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_those_that_the_model_has() {
        let names = |run: &FineTuning, of_model| -> Vec<String> {
            layers(run, of_model).into_iter().map(|(name, _)| name).collect()
        };
        let plain = FineTuning::default();
        assert_eq!(names(&plain, 36), ["4", "8", "16", "32", "all 36"]);
        assert_eq!(names(&plain, 16), ["4", "8", "all 16"]);
        let twelve = FineTuning { layers: Some(12), ..plain };
        assert_eq!(names(&twelve, 28), ["4", "8", "12", "16", "all 28"]);
    }
}
