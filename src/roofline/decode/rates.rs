//! What the parameters mean on one machine.

use super::{DecodeLaw, DecodeStep, P};
use crate::hardware::Tier;
use crate::roofline::features::StepFeatures;
use crate::roofline::{Program, Silicon};

/// Rates of a machine for one model and program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Seconds per kernel launch.
    pub launch: f64,
    /// Latency of a matrix kernel in seconds.
    pub latency: f64,
    /// Bytes of weights per second.
    pub stream: f64,
    /// Quantised weights unpacked per second.
    pub unpack: f64,
    /// The same for blocks with one scale.
    pub unpack_simple: f64,
    /// Elements of keys and values per second.
    pub kv: f64,
    /// Operations per second of a product of many rows.
    pub flops: f64,
}

/// Newest generation with parameters of its own; later ones are taken to be like it.
pub const NEWEST: u32 = 5;
/// Fraction of the peak that products of many rows reach, for large batches only; prefill has a law of its own.
const MANY_ROWS: f64 = 0.7;

impl DecodeLaw {
    /// Rates of a machine for a model in a program.
    #[must_use]
    pub fn rates(&self, f: &StepFeatures, target: &Silicon, step: DecodeStep) -> Rates {
        let generation = target.generation.clamp(1, NEWEST);
        let by_generation = |first: P| self.values[first as usize + generation as usize - 1];
        let by_tier = |first: P| match target.tier {
            Tier::Phone | Tier::Base => 1.0,
            Tier::Pro => self.values[first as usize],
            Tier::Max => self.values[first as usize + 1],
            Tier::Ultra => self.values[first as usize + 2],
        };
        let mut launch = 1e-6
            * self.p(P::Launch)
            * self.p(P::Trend).powi(generation as i32 - 3)
            * by_generation(P::LaunchM1)
            * by_tier(P::LaunchPro);
        if f.gated_delta {
            launch *= self.p(P::GatedDelta);
        } else if f.recurrent_layers > 0 {
            launch *= self.p(P::Recurrent);
        }
        if step.program == Program::MlxSwift {
            launch *= self.p(P::Swift);
        }
        let stream = self.p(P::Stream) * by_generation(P::StreamM1) * by_tier(P::StreamPro);
        let mut unpack = by_generation(P::DecodeM1);
        if step.fp16 && generation <= 2 {
            unpack *= self.p(P::DecodeFp16);
        }
        unpack *= (32.0 / target.cores.max(1.0)).powf(self.p(P::DecodeSize));
        if step.old_build {
            launch *= self.p(P::OldLaunch);
            unpack *= self.p(P::OldDecode);
        }
        let unpack = unpack * 1e9 * target.core_ghz();
        Rates {
            launch,
            latency: launch * self.p(P::Matrix),
            stream: stream.min(1.0) * target.bandwidth,
            unpack,
            unpack_simple: unpack * self.p(P::DecodeSimple),
            kv: self.p(P::KvRate) * 1e9 * target.core_ghz(),
            flops: MANY_ROWS * target.peak_flops(),
        }
    }
}
