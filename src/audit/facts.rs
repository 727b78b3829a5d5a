//! What is known about the model and the machine of a claim, and the bounds that follow.

use crate::estimate::Speed;
use crate::graph::Graph;
use crate::hardware::Machine;
use crate::hardware::catalog::Chip;
use crate::ledger::cache;
use crate::roofline::{Coefficients, Silicon, StepFeatures};
use crate::run::{Program, Run};
use std::rc::Rc;

/// A machine that a claim may be about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hardware {
    /// The figures that speed depends on.
    pub target: Silicon,
    /// Advertised bandwidth, 10^9 bytes per second.
    pub advertised_gbs: f64,
    /// Memory in bytes, where known.
    pub memory_bytes: Option<u64>,
}

impl Hardware {
    /// A resolved machine.
    #[must_use]
    pub fn of(machine: &Machine) -> Self {
        Self {
            target: Silicon::of(machine),
            advertised_gbs: machine.bandwidth.value.gbs(),
            memory_bytes: Some(machine.memory.value.0),
        }
    }

    /// A bin, with its memory in GiB where known; otherwise the largest that it is sold with.
    #[must_use]
    pub fn of_chip(chip: &Chip, memory_gib: Option<u64>) -> Self {
        Self {
            target: Silicon::of_chip(chip, memory_gib),
            advertised_gbs: chip.bandwidth(memory_gib.unwrap_or(0)).gbs(),
            memory_bytes: memory_gib.or(chip.memory_gib.last().copied()).map(|g| g << 30),
        }
    }
}

/// Bytes that one decode step reads for so many sequences: weights, and keys and values of the middle of the
/// generation.
fn step_bytes(f: &StepFeatures, context: u32, generated: u32, batch: f64) -> (f64, f64) {
    let tokens = f64::from(context) + f64::from(generated) / 2.0;
    (f.weight_bytes_per_step_of(batch), batch * (f.kv_bytes(tokens) + f.state_bytes))
}

/// The decode rate of all sequences, tokens per second, at which the bus of a machine carries nothing but what a step
/// must read, for tokens of the prompt, of the output and sequences. Only several tokens a step (speculative decoding)
/// get above it.
#[must_use]
pub fn fastest_decode(
    features: &StepFeatures,
    silicon: &Silicon,
    (context, generated, batch): (u32, u32, u32),
) -> f64 {
    let batch = f64::from(batch.max(1));
    let (weights, cache) = step_bytes(features, context, generated, batch);
    batch * silicon.bandwidth / (weights + cache)
}

/// A model whose sizes are known.
#[derive(Debug)]
pub struct Known {
    /// Its graph.
    pub graph: Graph,
    /// Its features for the engine of the claim.
    pub speed: Speed,
}

impl Known {
    /// See [`step_bytes`].
    pub(super) fn step_bytes(&self, context: u32, generated: u32, batch: f64) -> (f64, f64) {
        step_bytes(self.speed.features(), context, generated, batch)
    }

    /// See [`fastest_decode`].
    #[must_use]
    pub fn fastest_decode(
        &self,
        hardware: &Hardware,
        context: u32,
        generated: u32,
        batch: u32,
    ) -> f64 {
        fastest_decode(self.speed.features(), &hardware.target, (context, generated, batch))
    }

    /// Bytes of weights, and the least that a cache of so many tokens takes; `None` when mlx-lm could not run the
    /// model. mlx-lm's caches grow in steps of 256 tokens; the last step is left out, since others allocate exactly.
    pub(super) fn bytes(&self, tokens: u32, batch: u32) -> Option<(f64, f64)> {
        let whole = tokens - tokens % 256;
        let caches =
            cache::after_prompt(&self.graph, whole, cache::PREFILL_STEP, batch, None).ok()?;
        Some((self.speed.features().weight_bytes, cache::bytes(&caches) as f64))
    }
}

/// What is known; anything may be missing, and then the reason is there.
#[derive(Debug)]
pub struct Facts {
    /// The model.
    pub model: Result<Rc<Known>, String>,
    /// Machines that the claim may be about: one, or all bins that fit an ambiguous description. With an error, the
    /// bounds of the whole catalog apply.
    pub machines: Result<Vec<Hardware>, String>,
    /// Every bin of the catalog.
    pub catalog: Vec<Hardware>,
}

impl Facts {
    /// The machines that bounds are taken over: those of the claim, else all.
    #[must_use]
    pub fn candidates(&self) -> &[Hardware] {
        match &self.machines {
            Ok(machines) if !machines.is_empty() => machines,
            _ => &self.catalog,
        }
    }

    /// How the machine reads in a sentence.
    pub(super) fn whose(&self) -> &'static str {
        match &self.machines {
            Ok(_) => "this machine",
            Err(_) => "any Mac in the catalog",
        }
    }

    /// Highest bandwidth of the memory bus, bytes per second.
    pub(super) fn bus(&self) -> Option<f64> {
        self.candidates().iter().map(|h| h.target.bandwidth).max_by(f64::total_cmp)
    }

    /// Highest arithmetic peak, operations per second.
    pub(super) fn peak_flops(&self) -> Option<f64> {
        self.candidates().iter().map(|h| h.target.peak_flops()).max_by(f64::total_cmp)
    }

    /// Most memory, bytes.
    pub(super) fn memory(&self) -> Option<u64> {
        self.candidates().iter().filter_map(|h| h.memory_bytes).max()
    }

    /// The slowest decode rate that would still be expected: the lower end of the 90 % interval on the slowest
    /// candidate.
    pub(super) fn slowest_decode(
        &self,
        known: &Known,
        engine: Program,
        tokens: u32,
        batch: u32,
    ) -> Option<f64> {
        let coefficients = Coefficients::embedded().ok()?;
        let run = Run::default()
            .with_program(engine)
            .with_context(tokens)
            .with_generated(0)
            .with_batch(batch);
        let rates = self
            .candidates()
            .iter()
            .map(|h| known.speed.decode(coefficients, &h.target, &run).interval_90[0]);
        rates.min_by(f64::total_cmp)
    }
}
