//! Time of a decode step.
//!
//! ```text
//! t = launches + Σ √(max(bytes / stream, weights / unpack)² + latency²) + keys and values + states + program
//! keys and values = Σ max(bytes·cost / stream, elements × query heads per key head / rate)
//! ```
//! A kernel with a matrix takes as long as its bytes need on the bus or as its weights need to be unpacked, whichever is
//! longer; its latency hides behind that. Every other launch costs a fixed time. Keys and values are taken in by every
//! query head, so that attention is bound by the bus or by the cores. A Mac without a fan slows down in a long run.
//!
//! Several rows, those of sequences decoded together or of drafts to verify, follow the law of the folder `rows`.

pub mod parameters;
mod rates;
mod rows;

pub use parameters::DecodeParameters;
pub use rates::Rates;
pub use rows::{RowKernels, WIDE_SINCE};

use super::features::{AttentionReads, MatrixRole, StepFeatures};
use super::{Bound, Silicon};
use crate::run::{Program, Version};

/// A decode step: where it happens and in which state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeStep {
    /// Program that runs the model.
    pub program: Program,
    /// Whether it is a llama.cpp of 2024 or older.
    pub old_build: bool,
    /// Whether activations are IEEE half precision rather than bfloat16.
    pub fp16: bool,
    /// Whether a program on llama.cpp uses flash attention; without it scores are written and read again.
    pub flash: bool,
    /// Tokens in the cache.
    pub tokens: f64,
    /// Tokens generated in a row, which heats a Mac without a fan.
    pub generated: f64,
    /// Sequences decoded together.
    pub batch: f64,
    /// Seconds that a server adds, where they are known of the program; else those of the law.
    pub server: Option<f64>,
    /// Tokens of each sequence: 1, or the drafts to verify and one.
    pub rows: f64,
    /// The version of MLX; means nothing where the program runs GGUF files.
    pub mlx: Version,
}

/// Launches that a program with recurrent states makes for every further token of a pass, so that it can go back to any of
/// them. An assumption: programs differ widely.
const LAUNCHES_PER_STATE: f64 = 8.0;
/// Further tokens for which it does: kernels that take a whole block keep the states of all of it.
const STATES_KEPT: f64 = 3.0;

/// Seconds of a decode step by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepTime {
    /// Kernel launches that do not hide behind streaming.
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
    /// Slow-down of a Mac without a fan.
    pub heat: f64,
    /// Seconds of matrices and attention in which arithmetic and not the bus sets the pace.
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
            + self.heat
    }

    /// What takes most of the time.
    #[must_use]
    pub fn bound(&self) -> Bound {
        let overhead = self.launches + self.program;
        let bandwidth = self.total() - self.heat - overhead - self.compute;
        if overhead >= bandwidth.max(self.compute) {
            Bound::Overhead
        } else if self.compute > bandwidth {
            Bound::Compute
        } else {
            Bound::Bandwidth
        }
    }
}

/// The decode law with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeLaw {
    p: DecodeParameters,
}

impl DecodeLaw {
    /// The law with these values of its parameters, in the order of the file; `None` unless there are as many.
    #[must_use]
    pub fn new(values: &[f64]) -> Option<Self> {
        DecodeParameters::of(values).map(|p| Self { p })
    }

    /// Time of a step.
    #[must_use]
    pub fn time(&self, f: &StepFeatures, silicon: &Silicon, step: DecodeStep) -> StepTime {
        let rates = self.rates(f, silicon, step);
        let mut t = StepTime::default();
        let (mut matrices, mut expert_launches) = (0.0, 0.0);
        for m in &f.matrices {
            let (seconds, compute) = rows::matrix_seconds(m, &rates, step.batch * step.rows);
            if compute {
                t.compute += seconds;
            }
            matrices += m.launches;
            match m.part {
                MatrixRole::Layer => t.weights += seconds,
                MatrixRole::Head => t.head += seconds,
                MatrixRole::Expert => {
                    t.experts += seconds;
                    let chosen = m.chosen.max(1) as f64 / 8.0;
                    expert_launches += m.launches * chosen.powf(self.p.expert_chosen);
                }
            }
        }
        t.other = f.other_bytes / rates.stream;
        let kept_states =
            LAUNCHES_PER_STATE * f.recurrent_layers as f64 * (step.rows - 1.0).min(STATES_KEPT);
        let others = (f.dispatches_at(step.tokens) - matrices).max(0.0) + kept_states;
        t.launches = rates.launch * others;
        t.experts += rates.launch * self.p.expert_launch * expert_launches;
        let latent = f.latent();
        for a in &f.attention {
            let (seconds, compute) = self.attention_seconds(a, latent, silicon, &rates, step);
            t.kv += seconds;
            if compute {
                t.compute += seconds;
            }
        }
        t.states = step.batch * 2.0 * f.state_bytes * self.p.states / rates.stream;
        if step.program == Program::Ollama {
            t.program = t.total() * (self.p.ollama - 1.0) + self.p.ollama_ms * 1e-3;
        } else if step.program.is_mlx_server() {
            t.program = match rows::server_cost(step.program) {
                cost if step.batch > 1.0 => cost.seconds(step.batch),
                _ => step.server.unwrap_or(self.p.server_ms * 1e-3),
            };
        }
        if silicon.fanless {
            let run = t.total() * step.generated;
            let heat = run / (run + self.p.fanless_seconds);
            t.heat = t.total() * (self.p.fanless - 1.0) * heat;
        }
        t
    }

    /// Seconds of an attention read, and whether arithmetic sets the pace.
    fn attention_seconds(
        &self,
        a: &AttentionReads,
        latent: bool,
        silicon: &Silicon,
        rates: &Rates,
        step: DecodeStep,
    ) -> (f64, bool) {
        let bytes = step.batch * a.bytes(step.tokens);
        if latent {
            // Every row's query heads work on the latents anew.
            return (step.rows * bytes * self.p.kv.latent / silicon.bandwidth, false);
        }
        let group = a.heads as f64 / a.kv_heads.max(1) as f64;
        let mut rate = rates.kv;
        rate *= match a.key_dim {
            256.. => self.p.kv.wide,
            0..=64 => self.p.kv.narrow,
            _ => 1.0,
        };
        if !a.fused {
            rate *= self.p.kv.unfused;
        }
        let bus = bytes * self.p.kv.byte / rates.stream;
        // Two bytes an element: a quantized cache is unpacked before it is taken in.
        let cores = step.batch * step.rows * a.elements(step.tokens) * group / rate;
        let apart = if step.program.runs_gguf() && !step.flash { self.p.kv.no_flash } else { 1.0 };
        (bus.max(cores) * apart, cores > bus)
    }
}
