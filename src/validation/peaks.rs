//! Simulated peaks of memory beside measured ones, of every program on MLX that a row names.

use super::join::{self, join};
use super::measurement::Measurement;
use crate::engine::programs::Engines;
use crate::estimate::{Estimator, loads_towers};
use crate::graph::Graph;
use crate::graph::towers::Loader;
use crate::hardware::catalog::LimitEntry;
use crate::hardware::{Chip, Machine};
use crate::model::NamedFormat;
use crate::model::catalog::Models;
use crate::roofline::Coefficients;
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

/// A simulated peak and its 90 % interval, bytes.
#[derive(Clone, Copy)]
struct Simulated {
    peak: u64,
    interval: [u64; 2],
}

/// Simulated peaks, one per model, format, chip and run.
pub(super) struct Peaks<'a> {
    models: &'a Models,
    coefficients: &'a Coefficients,
    chips: &'a [Chip],
    limits: &'a [LimitEntry],
    known: HashMap<String, Option<Simulated>>,
}

impl<'a> Peaks<'a> {
    pub fn new(
        (models, coefficients): (&'a Models, &'a Coefficients),
        chips: &'a [Chip],
        limits: &'a [LimitEntry],
    ) -> Self {
        Self { models, coefficients, chips, limits, known: HashMap::new() }
    }

    /// The peak of a row; `None` where it has none of MLX's own count, names no program, or a version whose peaks are not
    /// replayed.
    pub fn of(&mut self, row: &Measurement) -> Option<RowPeak> {
        let measured = row.peak_memory_gb.filter(|&gb| gb > 0.0)? * 1e9;
        if row.counts_process_memory() {
            return None;
        }
        let Simulated { peak, interval } = self.simulate(row)?;
        let (predicted, interval_90) = (peak as f64, interval.map(|end| end as f64));
        let interval_80 = interval_90.map(|end| predicted + PEAK_80 * (end - predicted));
        Some(RowPeak { measured, predicted, interval_80, interval_90 })
    }

    fn simulate(&mut self, row: &Measurement) -> Option<Simulated> {
        let engine = row.engine_of_peak()?;
        let joined = join(row, self.models, self.chips).ok()?;
        let NamedFormat::Mlx(scheme) = joined.weights else { return None };
        let chip = *joined.chips.first()?;
        // A benchmark leaves no caches of earlier prompts.
        let run = Run::default()
            .with_engine(engine)
            .with_context(row.prompt_tokens.max(row.context_tokens)?.max(1))
            .with_generated(row.gen_tokens.unwrap_or(UNSTATED_OUTPUT))
            .with_batch(row.batch)
            .with_prompt_cache(Some(Bytes::ZERO));
        let key = format!("{} {scheme} {} {run:?}", joined.model, chip.id);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let simulated = || {
            let (entry, alone) =
                join::graph_of(self.models, joined.model, NamedFormat::Mlx(scheme)).ok()?;
            let memory = row.memory_gib.unwrap_or(UNSTATED_MEMORY);
            let machine = Machine::from_chip(chip, memory, self.limits);
            let of = |graph: &Graph| {
                let estimator = Estimator::of_graph(self.coefficients, graph, run);
                let memory = estimator.memory(&machine).ok()?;
                let interval = memory.peak_interval_90.map(|end| end.0);
                Some(Simulated { peak: memory.peak.peak_bytes, interval })
            };
            let seen = || Graph::converted(&entry.config, scheme, Loader::MlxVlm).ok();
            let Some(seen) = loads_towers(engine.program).then(seen).flatten() else {
                return of(&alone);
            };
            let simulated = of(&seen)?;
            if !may_leave_towers_out(engine.program) {
                return Some(simulated);
            }
            // Which of the two was started is not stated.
            let [low, _] = of(&alone)?.interval;
            let [_, high] = simulated.interval;
            Some(Simulated { interval: [low, high], ..simulated })
        };
        let found = simulated();
        self.known.insert(key, found);
        found
    }
}

/// Whether a program that loads towers is often started without.
fn may_leave_towers_out(program: Program) -> bool {
    let row = Engines::embedded().ok().and_then(|all| all.row(program));
    row.is_some_and(|row| row.vision_tower_optional == Some(true))
}
