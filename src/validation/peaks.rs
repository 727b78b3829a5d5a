//! Simulated peaks of memory beside measured ones.

use super::join::{self, join};
use super::measurement::Measurement;
use crate::estimate::{gpu, memory};
use crate::hardware::catalog::LimitEntry;
use crate::hardware::{Chip, Machine};
use crate::ledger::peak;
use crate::model::NamedFormat;
use crate::model::catalog::Models;
use crate::run::{Program, Run};
use crate::units::Bytes;
use std::collections::HashMap;

/// Half-width of the 80 % interval of a peak in units of that of the 90 % interval.
const PEAK_80: f64 = 0.7;
/// Tokens generated where a row with a peak does not say.
const UNSTATED_OUTPUT: u32 = 128;
/// Memory of a machine in GiB where it does not say.
const UNSTATED_MEMORY: u64 = 64;

/// A measured peak and a simulated one, in bytes.
pub(super) struct RowPeak {
    /// Measured.
    pub measured: f64,
    /// Simulated.
    pub predicted: f64,
    /// Interval that should hold 80 % of measurements.
    pub interval_80: [f64; 2],
    /// Interval that should hold 90 % of measurements.
    pub interval_90: [f64; 2],
}

/// Simulated peaks, one per model, format, chip and run.
pub(super) struct Peaks<'a> {
    models: &'a Models,
    chips: &'a [Chip],
    limits: &'a [LimitEntry],
    known: HashMap<String, Option<u64>>,
}

impl<'a> Peaks<'a> {
    pub fn new(models: &'a Models, chips: &'a [Chip], limits: &'a [LimitEntry]) -> Self {
        Self { models, chips, limits, known: HashMap::new() }
    }

    /// The peak of a row; `None` where it has none of MLX's own count, or of a version whose peaks are not replayed.
    pub fn of(&mut self, row: &Measurement) -> Option<RowPeak> {
        let measured = row.peak_memory_gb.filter(|&gb| gb > 0.0)? * 1e9;
        if row.engine != Program::MlxLm || row.counts_process_memory() || !row.has_replayed_peak() {
            return None;
        }
        let predicted = self.simulate(row)?;
        let [low, high] = memory::interval_90(Bytes(predicted));
        let interval_90 = [low.0 as f64, high.0 as f64];
        let predicted = predicted as f64;
        let interval_80 = interval_90.map(|end| predicted + PEAK_80 * (end - predicted));
        Some(RowPeak { measured, predicted, interval_80, interval_90 })
    }

    fn simulate(&mut self, row: &Measurement) -> Option<u64> {
        let joined = join(row, self.models, self.chips).ok()?;
        let NamedFormat::Mlx(scheme) = joined.weights else { return None };
        let chip = *joined.chips.first()?;
        let run = Run::default()
            .with_engine(row.engine_setup())
            .with_context(row.prompt_tokens.max(row.context_tokens)?.max(1))
            .with_generated(row.gen_tokens.unwrap_or(UNSTATED_OUTPUT))
            .with_batch(row.batch);
        let key = format!("{} {scheme} {} {run:?}", joined.model, chip.id);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let simulated = || {
            let (_, graph) = join::graph_of(self.models, joined.model, joined.weights).ok()?;
            let memory = row.memory_gib.unwrap_or(UNSTATED_MEMORY);
            let machine = Machine::from_chip(chip, memory, self.limits);
            peak::peak(&graph, &run, gpu(&machine, &run.engine)).ok().map(|p| p.peak_bytes)
        };
        let found = simulated();
        self.known.insert(key, found);
        found
    }
}
