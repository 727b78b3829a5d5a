//! Time of prefill.
//!
//! ```text
//! t = (n + n0·chunks)·2·dense/F + n·2·experts/(x·F) + n·recurrent·G/F + attention/(a·F)
//!   + chunks·expert bytes/(y·BW) + weights/(z·BW) + launches
//! ```
//! Dense matrices, experts, recurrences and attention are bound by arithmetic; every chunk of the prompt reads the
//! experts once and launches all kernels once. The head is not run, nor the last layer beyond its keys and values.

use super::features::StepFeatures;
use super::parameters::Spec;
use super::{Bound, Target};
use crate::hardware::Tier;

macro_rules! parameters {
    ($($id:ident $name:literal $prior:literal $sd:literal $low:literal $high:literal $meaning:literal;)*) => {
        /// A parameter of the prefill law.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum P { $($id,)* }

        /// What the parameters are, in their order.
        pub const SPECS: &[Spec] = &[$(Spec {
            name: $name,
            prior: $prior,
            prior_sd: $sd,
            low: $low,
            high: $high,
            meaning: $meaning,
        },)*];
    };
}

parameters! {
    FlopsM1 "gflops.m1" 104.0 0.3 20.0 256.0 "quantised dense product on a base chip, GFLOP/s per core and GHz, M1";
    FlopsM2 "gflops.m2" 93.0 0.3 20.0 256.0 "M2";
    FlopsM3 "gflops.m3" 183.0 0.3 20.0 256.0 "M3";
    FlopsM4 "gflops.m4" 180.0 0.3 20.0 256.0 "M4";
    FlopsM5 "gflops.m5" 789.0 0.3 100.0 1024.0 "M5 and later, with matrix units";
    Pro "gflops.pro" 1.1 0.2 0.5 1.6 "factor of Pro chips";
    Max "gflops.max" 1.1 0.2 0.5 1.6 "factor of Max chips";
    Ultra "gflops.ultra" 1.0 0.2 0.5 1.6 "factor of Ultra chips";
    Fp16 "gflops.fp16" 1.38 0.2 0.9 2.0 "factor with fp16 activations on M1 and M2";
    Plain "gflops.plain" 1.17 0.2 0.8 1.6 "factor with 16-bit weights";
    Experts "experts" 0.66 0.2 0.2 1.0 "rate of expert products in units of dense ones";
    ExpertBytes "expert_bytes" 0.3 0.4 0.05 1.0 "fraction of the bus at which experts are read";
    Recurrent "recurrent_mflop" 26.0 0.4 1.0 200.0 "work of a recurrent layer per token, in MFLOP of a dense product";
    RecurrentMatrix "recurrent_mflop.matrix" 122.0 0.4 5.0 800.0 "the same in MFLOP of a matrix unit";
    Attention "attention" 0.853 0.2 0.2 2.0 "rate of attention in units of dense products";
    Fixed "fixed_tokens" 19.0 0.4 1.0 200.0 "tokens whose dense work a chunk takes on top of its own";
    FixedMatrix "fixed_tokens.matrix" 106.0 0.4 5.0 800.0 "the same with matrix units";
    Launch "launch_us" 22.5 0.4 1.0 100.0 "time per launch of a chunk, µs";
    StartMs "start_ms" 2.0 1.0 0.1 50.0 "time before the first chunk, ms";
}

/// Seconds of prefill by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PrefillTime {
    /// Products with matrices that every token uses.
    pub dense: f64,
    /// Products with routed experts.
    pub experts: f64,
    /// Recurrent layers.
    pub recurrent: f64,
    /// Attention.
    pub attention: f64,
    /// Reading the weights.
    pub weights: f64,
    /// Kernel launches and start.
    pub launches: f64,
}

impl PrefillTime {
    /// Seconds of the whole.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.dense + self.experts + self.recurrent + self.attention + self.weights + self.launches
    }

    /// Terms with what bounds each.
    #[must_use]
    pub fn terms(&self) -> [(&'static str, f64, Bound); 6] {
        [
            ("dense", self.dense, Bound::Compute),
            ("experts", self.experts, Bound::Compute),
            ("recurrent", self.recurrent, Bound::Compute),
            ("attention", self.attention, Bound::Compute),
            ("weights", self.weights, Bound::Bandwidth),
            ("launches", self.launches, Bound::Overhead),
        ]
    }
}

/// The prefill law with its parameters, in the order of [`SPECS`].
#[derive(Clone, Debug, PartialEq)]
pub struct PrefillLaw {
    values: Vec<f64>,
}

impl PrefillLaw {
    /// The law with these parameters; `None` unless there are as many as [`SPECS`].
    #[must_use]
    pub fn new(values: Vec<f64>) -> Option<Self> {
        (values.len() == SPECS.len()).then_some(Self { values })
    }

    fn p(&self, p: P) -> f64 {
        self.values[p as usize]
    }

    /// Operations per second of a dense product of many rows.
    #[must_use]
    pub fn flops(&self, f: &StepFeatures, target: &Target) -> f64 {
        let generation = target.generation.clamp(1, 5) as usize;
        let mut rate = match target.matrix_units {
            true => self.p(P::FlopsM5),
            false => self.values[P::FlopsM1 as usize + generation.min(4) - 1],
        };
        rate *= match target.tier {
            Tier::Phone | Tier::Base => 1.0,
            Tier::Pro => self.p(P::Pro),
            Tier::Max => self.p(P::Max),
            Tier::Ultra => self.p(P::Ultra),
        };
        if f.fp16 && generation <= 2 {
            rate *= self.p(P::Fp16);
        }
        if f.plain() {
            rate *= self.p(P::Plain);
        }
        (rate * 1e9 * target.core_ghz()).min(target.peak_flops())
    }

    /// Time to process `tokens` tokens in chunks of `chunk`, for `batch` sequences.
    #[must_use]
    pub fn time(
        &self,
        f: &StepFeatures,
        target: &Target,
        tokens: f64,
        chunk: f64,
        batch: f64,
    ) -> PrefillTime {
        let flops = self.flops(f, target);
        let chunks = (tokens / chunk.max(1.0)).ceil().max(1.0);
        let (fixed, recurrent) = if target.matrix_units {
            (self.p(P::FixedMatrix), self.p(P::RecurrentMatrix))
        } else {
            (self.p(P::Fixed), self.p(P::Recurrent))
        };
        let p = &f.prefill;
        let rows = tokens * batch;
        let window = 2.0 * tokens * (tokens / 2.0).min(p.window_tokens) * p.window_attention
            / p.window_tokens.max(1.0);
        let attention = batch * (tokens * tokens * p.full_attention + window);
        PrefillTime {
            dense: (rows + fixed * chunks) * 2.0 * p.dense_weights / flops,
            experts: rows * 2.0 * p.expert_weights / (self.p(P::Experts) * flops)
                + chunks * p.expert_bytes / (self.p(P::ExpertBytes) * target.bandwidth),
            recurrent: rows * f.recurrent_layers as f64 * recurrent * 1e6 / flops,
            attention: (attention / (self.p(P::Attention) * flops))
                .max(attention / target.peak_flops()),
            weights: f.weight_bytes / (0.85 * target.bandwidth),
            launches: chunks * p.dispatches * self.p(P::Launch) * 1e-6 + self.p(P::StartMs) * 1e-3,
        }
    }
}
