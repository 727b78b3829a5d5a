//! Time of a decode step.
//!
//! ```text
//! t = launches + Σ max(bytes / (e·BW), weights / r) + keys and values + states
//! ```
//! A kernel with a matrix takes as long as its bytes need on the bus or as its weights need to be decoded, whichever is
//! longer; every launch costs a fixed time; a byte of keys and values costs more than a byte of weights, because it is
//! read once per group of query heads.

mod batch;
mod parameters;
mod rates;

pub use parameters::{P, SPECS};
pub use rates::Rates;

use super::features::{Attention, Matrices, Part, StepFeatures};
use super::{Bound, Program, Target};

/// A decode step: where it happens and in which state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Program that runs the model.
    pub program: Program,
    /// Tokens in the cache.
    pub tokens: f64,
    /// Sequences decoded together.
    pub batch: f64,
}

/// Seconds of a decode step by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepTime {
    /// Kernel launches, those of experts included.
    pub launches: f64,
    /// Matrices of the layers.
    pub weights: f64,
    /// Routed experts.
    pub experts: f64,
    /// Output head.
    pub head: f64,
    /// Norms, biases, embedding rows.
    pub other: f64,
    /// Keys and values.
    pub kv: f64,
    /// Recurrent states.
    pub states: f64,
    /// The program around the model: server, sampling.
    pub program: f64,
    /// Seconds of all the above in which arithmetic and not the bus sets the pace.
    pub compute: f64,
}

impl StepTime {
    /// Seconds of the whole step.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.launches
            + self.weights
            + self.experts
            + self.head
            + self.other
            + self.kv
            + self.states
            + self.program
    }

    /// What takes most of the time.
    #[must_use]
    pub fn bound(&self) -> Bound {
        let overhead = self.launches + self.program;
        let bandwidth = self.total() - overhead - self.compute;
        if overhead >= bandwidth.max(self.compute) {
            Bound::Overhead
        } else if self.compute > bandwidth {
            Bound::Compute
        } else {
            Bound::Bandwidth
        }
    }
}

/// The decode law with its parameters, in the order of [`SPECS`].
#[derive(Clone, Debug, PartialEq)]
pub struct DecodeLaw {
    values: Vec<f64>,
}

impl DecodeLaw {
    /// The law with these parameters; `None` unless there are as many as [`SPECS`].
    #[must_use]
    pub fn new(values: Vec<f64>) -> Option<Self> {
        (values.len() == SPECS.len()).then_some(Self { values })
    }

    fn p(&self, p: P) -> f64 {
        self.values[p as usize]
    }

    /// Time of a step.
    #[must_use]
    pub fn time(&self, f: &StepFeatures, target: &Target, step: Step) -> StepTime {
        let rates = self.rates(f, target, step.program);
        let mut t = StepTime::default();
        let mut expert_launches = 0.0;
        for m in &f.matrices {
            let (seconds, compute) = batch::matrix_seconds(m, &rates, step.batch);
            if compute {
                t.compute += seconds;
            }
            match m.part {
                Part::Layer => t.weights += seconds,
                Part::Head => t.head += seconds,
                Part::Expert => {
                    t.experts += seconds;
                    expert_launches += m.launches;
                }
            }
        }
        t.other = f.other_bytes / rates.stream;
        t.launches =
            rates.launch * (f.dispatches_at(step.tokens) + self.p(P::Expert) * expert_launches);
        t.kv = step.batch
            * f.attention
                .iter()
                .map(|a| self.attention_seconds(f, a, target, step.tokens))
                .sum::<f64>();
        t.states = step.batch * 2.0 * f.state_bytes / rates.stream;
        t.program = rates.program;
        t
    }

    fn attention_seconds(
        &self,
        f: &StepFeatures,
        a: &Attention,
        target: &Target,
        tokens: f64,
    ) -> f64 {
        let group = a.heads as f64 / a.kv_heads.max(1) as f64;
        let cost = if a.rows_limit.is_some() {
            self.p(P::KvWindow)
        } else {
            let shape = match a.key_dim {
                _ if f.latent => self.p(P::KvLatent),
                256.. => self.p(P::KvWide),
                0..=64 => self.p(P::KvNarrow),
                _ => 1.0,
            };
            let group = if f.latent { 1.0 } else { group };
            self.p(P::Kv).max(self.p(P::KvGroup) * group) * shape
        };
        a.bytes(tokens) * cost / target.bandwidth
    }
}

/// Expected number of different experts that `batch` tokens use, each `chosen` of `experts`, chosen evenly.
#[must_use]
pub fn distinct_experts(m: &Matrices, batch: f64) -> f64 {
    let (all, chosen) = (m.experts as f64, m.chosen as f64);
    if all <= chosen { all } else { all * (1.0 - (1.0 - chosen / all).powf(batch)) }
}
