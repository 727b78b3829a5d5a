//! Time of prefill.
//!
//! ```text
//! t = (n + n0·chunks)·2·dense/F + n·2·experts/(x·F) + n·recurrent·G/F + attention/(a·F)
//!   + chunks·bytes of the experts that a chunk chooses/(y·BW) + launches
//!   + logits·2·(head and what only it needs)/F, and weights/R after a pause
//! ```
//! The dense weights are read while they are multiplied: where a prompt is so short that reading takes longer than that
//! (weights/(z·BW)), it takes as long. Dense matrices, experts, recurrences and attention are bound by arithmetic; every
//! chunk of the prompt reads the
//! experts once and launches all kernels once. The head is not run, nor the last layer beyond its keys and values, except
//! for the last chunk in mlx-lm before 0.27.0 and in MLX Swift.
//!
//! Behind a kept cache only the tokens after it are read: `n` is theirs, and attention is that of the whole prompt less that
//! of the cached part. A prompt of which only the last token is left has no chunk.

mod parameters;

pub use parameters::{ByUnit, PrefillParameters, specs};

use super::features::StepFeatures;
use super::{Bound, Silicon};
use crate::run::Program;

/// A prompt: where it is processed and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefillPrompt {
    /// Program that runs the model.
    pub program: Program,
    /// Whether activations are IEEE half precision rather than bfloat16.
    pub fp16: bool,
    /// Tokens of each sequence, those of a kept cache included.
    pub tokens: f64,
    /// Tokens of each that a kept cache holds.
    pub cached: f64,
    /// Tokens of a chunk.
    pub chunk: f64,
    /// Sequences.
    pub batch: f64,
    /// Tokens of each sequence whose logits are computed beside that of the last: those of the last chunk in mlx-lm
    /// before 0.27.0, and in MLX Swift.
    pub logit_tokens: f64,
    /// Whether the GPU had nothing to do for a second or more before: macOS lets the weights go, and makes them resident
    /// again when they are needed.
    pub paused: bool,
}

impl PrefillPrompt {
    /// Tokens of each sequence that are read.
    fn read(&self) -> f64 {
        (self.tokens - self.cached).max(1.0)
    }

    /// Whether a kept cache holds all but the last token, which the first decode step reads.
    fn has_no_chunk(&self) -> bool {
        self.cached > 0.0 && self.tokens - self.cached <= 1.0
    }
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
    /// Logits of tokens that nobody asked for, and the layers that only they need.
    pub logits: f64,
    /// Reading the dense weights for longer than they are multiplied.
    pub weights: f64,
    /// Making the weights resident again after a pause.
    pub pause: f64,
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
            + self.logits
            + self.weights
            + self.pause
            + self.launches
            + self.program
            + self.heat
    }

    /// Terms with what bounds each.
    #[must_use]
    pub fn terms(&self) -> [(&'static str, f64, Bound); 10] {
        [
            ("dense", self.dense, Bound::Compute),
            ("experts", self.experts, Bound::Compute),
            ("recurrent", self.recurrent, Bound::Compute),
            ("attention", self.attention, Bound::Compute),
            ("logits", self.logits, Bound::Compute),
            ("weights", self.weights, Bound::Bandwidth),
            ("pause", self.pause, Bound::Overhead),
            ("launches", self.launches, Bound::Overhead),
            ("program", self.program, Bound::Overhead),
            ("heat", self.heat, Bound::Compute),
        ]
    }
}

/// The prefill law with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefillLaw {
    p: PrefillParameters,
}

impl PrefillLaw {
    /// The law with these values of its parameters, in the order of [`specs`]; `None` unless there are as many.
    #[must_use]
    pub fn new(values: &[f64]) -> Option<Self> {
        PrefillParameters::of(values).map(|p| Self { p })
    }

    /// Rate at which weights become resident again after a pause on matrix units, where it was measured, GB/s.
    #[must_use]
    pub const fn resident_gbs(&self) -> f64 {
        self.p.resident_gbs
    }

    /// GFLOP/s per core and GHz of a quantized dense product of many rows in bfloat16.
    fn dense_gflops(&self, silicon: &Silicon) -> f64 {
        let p = &self.p.gflops;
        let rate = match silicon.matrix_units {
            true => p.by_generation.m5,
            // An M5 without its matrix units would be like an M4.
            false => p.by_generation.of(silicon.generation.min(4)),
        };
        rate * p.by_tier.of(silicon.tier)
    }

    /// Operations per second of such a product.
    #[must_use]
    pub fn dense_flops(&self, silicon: &Silicon) -> f64 {
        (self.dense_gflops(silicon) * 1e9 * silicon.core_ghz()).min(silicon.peak_flops())
    }

    /// Operations per second of a dense product of many rows.
    #[must_use]
    pub fn flops(&self, f: &StepFeatures, silicon: &Silicon, fp16: bool) -> f64 {
        let p = &self.p.gflops;
        let mut rate = self.dense_gflops(silicon);
        if fp16 && silicon.generation <= 2 {
            rate *= p.fp16;
        }
        if f.plain() {
            rate *= p.plain;
        }
        (rate * 1e9 * silicon.core_ghz()).min(silicon.peak_flops())
    }

    /// Time to process a prompt.
    #[must_use]
    pub fn time(&self, f: &StepFeatures, silicon: &Silicon, prompt: PrefillPrompt) -> PrefillTime {
        let flops = self.flops(f, silicon, prompt.fp16);
        let shader = Silicon { matrix_units: false, ..*silicon };
        let shader_flops = self.flops(f, &shader, prompt.fp16);
        let peak = silicon.peak_flops();
        let own = &self.p;
        let with = |pair: ByUnit| if silicon.matrix_units { pair.matrix } else { pair.shader };
        let p = &f.prefill;
        let batch = prompt.batch;
        let read = prompt.read();
        let chunks = (read / prompt.chunk.max(1.0)).ceil().max(1.0);
        let rows = read * batch;
        let products =
            |fixed: f64, rate: f64| (rows + fixed * chunks) * 2.0 * p.dense_weights / rate;
        // Few rows are multiplied on the shaders, as on a GPU without matrix units.
        let few_rows = products(own.fixed_tokens.shader, shader_flops);
        let in_chunk = (rows / chunks).min(prompt.chunk * batch);
        let chosen = 1.0 - (1.0 - f.chosen_experts()).powf(in_chunk);
        let expert_rate = with(own.experts) * flops;
        let expert_stream = with(own.expert_bytes).min(1.0) * silicon.bandwidth;
        let of_prompt = |tokens: f64| {
            let window = 2.0 * tokens * (tokens / 2.0).min(p.window_tokens) * p.window_attention
                / p.window_tokens.max(1.0);
            tokens * tokens * p.full_attention + window
        };
        let attention = batch * (of_prompt(prompt.tokens) - of_prompt(prompt.cached));
        // Those of experts are read with them.
        let dense_bytes = (f.weight_bytes - p.expert_bytes).max(0.0);
        let dense = products(with(own.fixed_tokens), flops).min(few_rows);
        let mut t = PrefillTime {
            dense,
            experts: rows * 2.0 * p.expert_weights / expert_rate.min(peak)
                + chunks * chosen * p.expert_bytes / expert_stream,
            recurrent: rows * f.recurrent_layers as f64 * with(own.recurrent_mflop) * 1e6 / flops,
            attention: attention / (own.attention * flops).min(peak),
            logits: batch * prompt.logit_tokens * 2.0 * f.unneeded_weights() / flops,
            weights: (dense_bytes / (WEIGHTS * silicon.bandwidth) - dense).max(0.0),
            pause: if prompt.paused { f.weight_bytes / (own.resident_gbs * 1e9) } else { 0.0 },
            launches: chunks * p.dispatches * own.launch_us * 1e-6 + own.start_ms * 1e-3,
            ..PrefillTime::default()
        };
        if prompt.has_no_chunk() {
            t = PrefillTime { launches: own.start_ms * 1e-3, ..PrefillTime::default() };
        }
        t.program = match prompt.program {
            Program::MlxSwift => t.total() * (own.swift - 1.0) + own.swift_ms * 1e-3,
            program if program.is_mlx_server() => own.server_ms * 1e-3,
            _ => 0.0,
        };
        if silicon.fanless {
            let run = t.total();
            t.heat = run * (with(own.fanless) - 1.0) * run / (run + own.fanless_seconds);
        }
        t
    }
}

/// Fraction of the bus at which prefill reads the weights once, from the pilot fit.
const WEIGHTS: f64 = 0.85;
