//! What the parameters mean on one machine.

use super::{DecodeLaw, P};
use crate::hardware::Tier;
use crate::roofline::features::StepFeatures;
use crate::roofline::{Program, Target};

/// Rates of a machine for one model and program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Seconds per kernel launch.
    pub launch: f64,
    /// Bytes of weights per second.
    pub stream: f64,
    /// Quantised weights decoded per second.
    pub decode: f64,
    /// Operations per second of a product of many rows.
    pub flops: f64,
    /// Seconds per token that the program adds.
    pub program: f64,
}

/// Newest generation with parameters of its own; later ones are taken to be like it.
pub const NEWEST: u32 = 5;

impl DecodeLaw {
    /// Rates of a machine for a model in a program.
    #[must_use]
    pub fn rates(&self, f: &StepFeatures, target: &Target, program: Program) -> Rates {
        let generation = target.generation.clamp(1, NEWEST) - 1;
        let by_generation = |first: P| self.values[first as usize + generation as usize];
        let by_tier = |first: P| match target.tier {
            Tier::Phone | Tier::Base => 1.0,
            Tier::Pro => self.values[first as usize],
            Tier::Max => self.values[first as usize + 1],
            Tier::Ultra => self.values[first as usize + 2],
        };
        let mut launch =
            1e-6 * self.p(P::Launch) * by_generation(P::LaunchM1) * by_tier(P::LaunchPro);
        if f.gated_delta {
            launch *= self.p(P::GatedDelta);
        }
        if program == Program::MlxSwift {
            launch *= self.p(P::Swift);
        }
        let stream = self.p(P::Stream) * by_generation(P::StreamM1) * by_tier(P::StreamPro);
        let mut decode = self.values[P::DecodeM1 as usize + generation.min(2) as usize];
        if f.fp16 && generation < 2 {
            decode *= self.p(P::DecodeFp16);
        }
        if target.tier == Tier::Ultra {
            decode *= self.p(P::DecodeUltra);
        }
        Rates {
            launch,
            stream: stream.min(1.0) * target.bandwidth,
            decode: decode * 1e9 * target.core_ghz(),
            flops: 0.7 * target.peak_flops(),
            program: if program == Program::MlxServer { self.p(P::ServerMs) * 1e-3 } else { 0.0 },
        }
    }
}
