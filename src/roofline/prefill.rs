//! Time of prefill.
//!
//! ```text
//! t = (n + n0·chunks)·2·dense/F + n·2·experts/(x·F) + n·recurrent·G/F + attention/(a·F)
//!   + chunks·bytes of the experts that a chunk chooses/(y·BW) + weights/(z·BW) + launches
//! ```
//! Dense matrices, experts, recurrences and attention are bound by arithmetic; every chunk of the prompt reads the
//! experts once and launches all kernels once. The head is not run, nor the last layer beyond its keys and values.

use super::features::StepFeatures;
use super::parameters::Spec;
use super::{Bound, Program, Silicon};
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
    FlopsM2 "gflops.m2" 93.0 0.3 20.0 256.0 "the same on M2";
    FlopsM3 "gflops.m3" 183.0 0.3 20.0 256.0 "the same on M3";
    FlopsM4 "gflops.m4" 180.0 0.3 20.0 256.0 "the same on M4";
    FlopsM5 "gflops.m5" 789.0 0.4 100.0 1024.0 "the same with the matrix units of M5 and later";
    Pro "gflops.pro" 1.1 0.15 0.6 1.8 "factor of Pro chips";
    Max "gflops.max" 1.1 0.15 0.6 1.8 "factor of Max chips";
    Ultra "gflops.ultra" 1.0 0.15 0.5 1.8 "factor of Ultra chips";
    Fp16 "gflops.fp16" 1.38 0.2 0.9 2.0 "factor with fp16 activations on M1 and M2";
    Plain "gflops.plain" 1.17 0.2 0.8 1.8 "factor with 16-bit weights";
    Experts "experts" 0.7 0.3 0.2 1.2 "rate of expert products in units of dense ones";
    ExpertsMatrix "experts.matrix" 0.62 0.3 0.1 1.2 "the same with matrix units";
    ExpertBytes "expert_bytes" 0.3 0.5 0.05 1.0 "fraction of the bus at which the chosen experts of a chunk are read";
    ExpertBytesMatrix "expert_bytes.matrix" 0.5 0.5 0.05 1.0 "the same with matrix units";
    Recurrent "recurrent_mflop" 26.0 0.5 1.0 200.0 "work of a recurrent layer per token, in MFLOP of a dense product";
    RecurrentMatrix "recurrent_mflop.matrix" 120.0 0.5 5.0 800.0 "the same in MFLOP of a matrix unit";
    Attention "attention" 0.85 0.3 0.2 2.0 "rate of attention in units of dense products";
    Fixed "fixed_tokens" 19.0 0.5 1.0 200.0 "tokens whose dense work a chunk takes on top of its own";
    FixedMatrix "fixed_tokens.matrix" 100.0 0.5 5.0 800.0 "the same with matrix units";
    Launch "launch_us" 20.0 0.5 1.0 100.0 "time per launch of a chunk, µs";
    StartMs "start_ms" 2.0 1.0 0.1 60.0 "time before the first chunk, ms";
    Swift "swift" 1.05 0.15 0.7 1.6 "factor on the time of programs on MLX Swift";
    ServerMs "server_ms" 5.0 1.0 0.2 60.0 "time that an HTTP server adds, ms";
    Fanless "fanless" 1.15 0.1 1.0 2.0 "factor of a Mac without a fan";
}

/// A prompt: where it is processed and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefillPrompt {
    /// Program that runs the model.
    pub program: Program,
    /// Whether activations are IEEE half precision rather than bfloat16.
    pub fp16: bool,
    /// Tokens of each sequence.
    pub tokens: f64,
    /// Tokens of a chunk.
    pub chunk: f64,
    /// Sequences.
    pub batch: f64,
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
    /// The program around the model.
    pub program: f64,
    /// Slow-down of a Mac without a fan.
    pub heat: f64,
}

impl PrefillTime {
    /// Seconds of the whole.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.dense
            + self.experts
            + self.recurrent
            + self.attention
            + self.weights
            + self.launches
            + self.program
            + self.heat
    }

    /// Terms with what bounds each.
    #[must_use]
    pub fn terms(&self) -> [(&'static str, f64, Bound); 8] {
        [
            ("dense", self.dense, Bound::Compute),
            ("experts", self.experts, Bound::Compute),
            ("recurrent", self.recurrent, Bound::Compute),
            ("attention", self.attention, Bound::Compute),
            ("weights", self.weights, Bound::Bandwidth),
            ("launches", self.launches, Bound::Overhead),
            ("program", self.program, Bound::Overhead),
            ("heat", self.heat, Bound::Compute),
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
    pub fn flops(&self, f: &StepFeatures, target: &Silicon, fp16: bool) -> f64 {
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
        if fp16 && generation <= 2 {
            rate *= self.p(P::Fp16);
        }
        if f.plain() {
            rate *= self.p(P::Plain);
        }
        (rate * 1e9 * target.core_ghz()).min(target.peak_flops())
    }

    /// Time to process a prompt.
    #[must_use]
    pub fn time(&self, f: &StepFeatures, target: &Silicon, prompt: PrefillPrompt) -> PrefillTime {
        let flops = self.flops(f, target, prompt.fp16);
        let peak = target.peak_flops();
        let with = |shader: P, matrix: P| self.p(if target.matrix_units { matrix } else { shader });
        let p = &f.prefill;
        let (tokens, batch) = (prompt.tokens, prompt.batch);
        let chunks = (tokens / prompt.chunk.max(1.0)).ceil().max(1.0);
        let rows = tokens * batch;
        let fixed = with(P::Fixed, P::FixedMatrix) * chunks;
        let in_chunk = (rows / chunks).min(prompt.chunk * batch);
        let read = 1.0 - (1.0 - f.chosen_experts()).powf(in_chunk);
        let expert_rate = with(P::Experts, P::ExpertsMatrix) * flops;
        let expert_stream =
            (with(P::ExpertBytes, P::ExpertBytesMatrix)).min(1.0) * target.bandwidth;
        let window = 2.0 * tokens * (tokens / 2.0).min(p.window_tokens) * p.window_attention
            / p.window_tokens.max(1.0);
        let attention = batch * (tokens * tokens * p.full_attention + window);
        let mut t = PrefillTime {
            dense: (rows + fixed) * 2.0 * p.dense_weights / flops,
            experts: rows * 2.0 * p.expert_weights / expert_rate.min(peak)
                + chunks * read * p.expert_bytes / expert_stream,
            recurrent: rows
                * f.recurrent_layers as f64
                * with(P::Recurrent, P::RecurrentMatrix)
                * 1e6
                / flops,
            attention: attention / (self.p(P::Attention) * flops).min(peak),
            weights: f.weight_bytes / (WEIGHTS * target.bandwidth),
            launches: chunks * p.dispatches * self.p(P::Launch) * 1e-6 + self.p(P::StartMs) * 1e-3,
            ..PrefillTime::default()
        };
        t.program = match prompt.program {
            Program::MlxSwift => t.total() * (self.p(P::Swift) - 1.0),
            Program::MlxServer => self.p(P::ServerMs) * 1e-3,
            _ => 0.0,
        };
        if target.fanless {
            t.heat = t.total() * (self.p(P::Fanless) - 1.0);
        }
        t
    }
}

/// Fraction of the bus at which prefill reads the weights once, from the pilot fit.
const WEIGHTS: f64 = 0.85;
