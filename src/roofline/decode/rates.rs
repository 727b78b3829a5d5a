//! What the parameters mean on one machine.

use super::rows::{NARROW, RowKernels, ULTRA, WIDE};
use super::{DecodeLaw, DecodeStep};
use crate::hardware::Tier;
use crate::roofline::Silicon;
use crate::roofline::features::StepFeatures;
use crate::roofline::parameters::ByGeneration;
use crate::run::Program;

/// Rates of a machine for one model and program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Seconds per kernel launch.
    pub launch: f64,
    /// Latency of a matrix kernel in seconds.
    pub latency: f64,
    /// Bytes of weights per second.
    pub stream: f64,
    /// Quantized weights unpacked per second.
    pub unpack: f64,
    /// The same for blocks with one scale.
    pub unpack_simple: f64,
    /// Elements of keys and values per second.
    pub kv: f64,
    /// Weights times rows per second of kernels for few rows that unpack a weight once for several; `None` where the
    /// kernel for one row repeats itself.
    pub wide: Option<f64>,
    /// The same of those that unpack it for every row.
    pub narrow: Option<f64>,
    /// Half-precision peak in operations per second.
    pub peak: f64,
    /// Whether matrix kernels run on matrix units.
    pub matrix_units: bool,
    /// Which kernels run several rows.
    pub kernels: RowKernels,
}

/// Newest generation with parameters of its own; later ones are taken to be like it.
pub const NEWEST: u32 = 5;

/// Rows that the kernels of MTPLX unpack in the time in which MLX's unpack one, on chips whose kernels repeat themselves for
/// every row (12 rounds of 2 to 4 rows on an M1 Ultra, `data/beyond.csv`).
const OWN_KERNELS: f64 = 1.7;

impl DecodeLaw {
    /// Seconds per kernel launch of a model without recurrent layers.
    #[must_use]
    pub fn launch_seconds(&self, silicon: &Silicon) -> f64 {
        let p = &self.p.launch;
        let generation = silicon.generation.clamp(1, NEWEST);
        1e-6 * p.base_us * p.trend.powi(generation as i32 - 3) * p.by_generation.of(generation)
    }

    /// Rates of a machine for a model in a program.
    #[must_use]
    pub fn rates(&self, f: &StepFeatures, silicon: &Silicon, step: DecodeStep) -> Rates {
        let p = &self.p;
        let generation = silicon.generation.clamp(1, NEWEST);
        let mut launch = self.launch_seconds(silicon);
        if f.gated_delta {
            launch *= p.gated_delta;
        } else if f.recurrent_layers > 0 {
            launch *= p.recurrent;
        }
        if step.program == Program::MlxSwift {
            launch *= p.swift;
        }
        let stream = p.stream.base
            * p.stream.by_generation.of(generation)
            * p.stream.by_tier.of(silicon.tier);
        let mut unpack = p.unpack.by_generation.of(generation);
        if step.fp16 && generation <= 2 {
            unpack *= p.unpack.fp16;
        }
        unpack *= (32.0 / silicon.cores.max(1.0)).powf(p.unpack.size);
        if step.old_build {
            launch *= p.old_launch;
            unpack *= p.old_unpack;
        }
        let unpack = unpack * 1e9 * silicon.core_ghz();
        let ultra = if silicon.tier == Tier::Ultra { ULTRA } else { 1.0 };
        let per_core = |by: &ByGeneration| {
            (generation >= 3).then(|| by.of(generation) * ultra * 1e9 * silicon.core_ghz())
        };
        let own = (step.program == Program::Mtplx).then_some(OWN_KERNELS * unpack);
        Rates {
            launch,
            latency: launch * p.matrix_launch,
            stream: stream.min(1.0) * silicon.bandwidth,
            unpack,
            unpack_simple: unpack * p.unpack.simple,
            kv: p.kv.rate * 1e9 * silicon.core_ghz(),
            wide: per_core(&WIDE).or(own),
            narrow: per_core(&NARROW).or(own),
            peak: silicon.peak_flops(),
            matrix_units: silicon.matrix_units,
            kernels: RowKernels::of(silicon, (!step.program.runs_gguf()).then_some(step.mlx)),
        }
    }
}
