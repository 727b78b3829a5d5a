//! Fine-tuning planned: what makes a run fit, how far it can go, which Macs do it, and one choice of it varied.

mod changes;
mod largest;
mod macs;
mod varied;

pub use changes::{TrainingCandidate, TrainingChange, candidates, changes};
pub use largest::{LargestRun, largest};
pub use macs::{TrainingMac, TrainingMacsError, macs_for_training};
pub use varied::{PeaksByLength, TrainingChoice, VariedRun, peaks_by_length, varied};
