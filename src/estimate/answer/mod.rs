//! A prediction as programs read it: the one shape of `mlxplan.prediction/2`.

mod of;

use super::explain::Explanation;
use super::memory::{Advice, ContextBound, Fit, Limit, Process, Swap, Withheld};
use super::speculation::Speculation;
use super::speed::{Evidence, Term};
use super::warning::Warning;
use super::widening::Widening;
use super::{PauseCost, PowerSpeeds, StreamedExperts};
use crate::calibration::Fidelity;
use crate::calibration::evidence::Quality;
use crate::hardware::machine::MachineSummary;
use crate::ledger::llama_cpp::LlamaBuffers;
use crate::ledger::peak::Phase;
use crate::model::quality::PublishedLoss;
use crate::roofline::Bound;
use crate::run::{FormatOrigin, Program, Version};
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// `mlxplan.prediction/2`. What is not known is `null`.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct PredictionAnswer {
    /// The model.
    pub model: ModelAnswer,
    /// The format of its weights.
    pub format: FormatAnswer,
    /// The engine.
    pub engine: EngineAnswer,
    /// The machine, where it is a Mac.
    pub machine: Option<MachineSummary>,
    /// The run.
    pub request: RunKeys,
    /// Memory.
    pub memory: MemoryAnswer,
    /// Its pace with experts read from the SSD, where it has such and does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streamed_experts: Option<StreamedExperts>,
    /// Decode speed; `null` for a model that embeds or judges, which generates nothing.
    pub decode: Option<DecodeAnswer>,
    /// Prefill speed; `null` where nothing is known of it.
    pub prefill: Option<PrefillAnswer>,
    /// What power mode and heat leave of the speeds, on laptops and where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<PowerSpeeds>,
    /// Basis of the decode speed.
    pub fidelity: Fidelity,
    /// Own runs of this very model, program and machine that shifted it.
    pub evidence: Vec<String>,
    /// The speeds without those runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_evidence: Option<WithoutEvidence>,
    /// What the prediction leaves out.
    pub not_modeled: Vec<String>,
    /// Why intervals are wider than their classes of measurements say.
    pub widenings: Vec<Widening>,
    /// Every input and where it comes from.
    pub provenance: Vec<SourceAnswer>,
    /// Doubts.
    pub warnings: Vec<Warning>,
    /// Every term and byte, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explain: Option<Explanation>,
    /// What drafts do to the run, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speculation: Option<Speculation>,
}

/// The speeds without own runs, where those shifted them.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WithoutEvidence {
    /// Decode speed.
    pub decode: Option<RateAnswer>,
    /// Prefill speed.
    pub prefill: Option<RateAnswer>,
}

/// A rate.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct RateAnswer {
    /// Tokens per second.
    pub tokens_per_s: f64,
    /// Interval that holds 80 % of measurements.
    pub interval_80: [f64; 2],
    /// Interval that holds 90 % of measurements.
    pub interval_90: [f64; 2],
}

/// A model.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ModelAnswer {
    /// Its name.
    pub id: String,
    /// `model_type` of its configuration.
    pub family: String,
    /// The format of its weights.
    pub quant: String,
    /// Parameters.
    pub parameters: u64,
    /// Parameters that a token uses.
    pub active_parameters: u64,
}

/// The format of the weights.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct FormatAnswer {
    /// Its name.
    pub id: String,
    /// What decided it.
    pub origin: FormatOrigin,
    /// Least and most bytes of the weights.
    pub weights_interval_bytes: Option<[u64; 2]>,
    /// What it loses of quality, as published; `null` where nobody measured it.
    pub published_loss: Option<PublishedLoss>,
}

/// An engine.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct EngineAnswer {
    /// The program.
    pub program: Program,
    /// Its version, where it is known.
    pub version: Option<Version>,
    /// The version of MLX that is predicted; `null` where the program does not run on it.
    pub mlx: Option<Version>,
    /// The oldest and the newest MLX that it may be, which the intervals of memory cover.
    pub mlx_interval: Option<[Version; 2]>,
    /// The version of macOS, where it is known.
    pub macos: Option<Version>,
    /// Whether MLX uses the matrix units: `on`, `off` or `unknown`.
    pub nax: &'static str,
    /// Tokens of a prefill chunk.
    pub prefill_step: u32,
    /// Type of the cache.
    pub kv_type: String,
}

/// A run.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RunKeys {
    /// Tokens of the prompt.
    pub context_tokens: u32,
    /// Tokens generated.
    pub generate_tokens: u32,
    /// Sequences at once.
    pub batch: u32,
    /// Bits of a quantized cache.
    pub kv_bits: Option<u32>,
    /// Tokens of a prefill chunk, as asked for or as the program has it by itself; `engine.prefill_step` is what is taken.
    pub prefill_step: u32,
    /// The program.
    pub engine: Program,
    /// Its version, where it is known.
    pub engine_version: Option<Version>,
    /// The version of MLX that is predicted; `null` where the program does not run on it.
    pub mlx: Option<Version>,
    /// Memory kept for macOS and other programs, where it is known for which machine.
    pub reserve_bytes: Option<Bytes>,
    /// GPU memory limit that was given.
    pub gpu_limit_bytes: Option<Bytes>,
    /// Memory meant for the run.
    pub budget_memory_bytes: Option<Bytes>,
    /// Memory that was given to the caches of earlier prompts.
    pub prompt_cache_bytes: Option<Bytes>,
    /// Sequences that the program was asked to keep room for.
    pub parallel: Option<u32>,
    /// Seconds without GPU work before the prompt, where they were said.
    pub idle_s: Option<u32>,
    /// Images in the prompt, whose tokens are among those of `context_tokens`.
    pub images: Option<ImagesAnswer>,
}

/// Images of one size in a prompt.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ImagesAnswer {
    /// Number of images.
    pub count: u32,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Tokens that each becomes, with the markers around it.
    pub tokens_each: Option<u32>,
}

/// Memory.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
pub struct MemoryAnswer {
    /// Weights as stored.
    pub weights_bytes: Option<u64>,
    /// Weights after loading, page rounded.
    pub weights_active_bytes: Option<u64>,
    /// Keys and values.
    pub kv_bytes: Option<u64>,
    /// Recurrent and convolution states.
    pub state_bytes: Option<u64>,
    /// Intermediates that wait for the GPU.
    pub run_ahead_bytes: Option<u64>,
    /// What the peak consists of.
    pub parts: Vec<PartAnswer>,
    /// Most active memory of MLX.
    pub peak_bytes: Option<u64>,
    /// Where the measured peak will be nine times out of ten.
    pub peak_interval_90_bytes: Option<[Bytes; 2]>,
    /// Where the peak occurs.
    pub peak_phase: Option<Phase>,
    /// Tokens in the cache there.
    pub peak_context_tokens: Option<u32>,
    /// The largest single buffer.
    pub largest_buffer_bytes: Option<u64>,
    /// What macOS shows for the process.
    pub process: Option<Process>,
    /// What llama.cpp is started with and allocates, where it runs the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llama_cpp: Option<LlamaAnswer>,
    /// Lowest and highest footprint of the process.
    pub footprint_interval_bytes: Option<[u64; 2]>,
    /// Whether it fits.
    pub fits: Option<Fit>,
    /// Every limit with its need.
    pub limits: Vec<Limit>,
    /// What swapping would cost, where memory does not suffice.
    pub swap: Option<Swap>,
    /// The longest context, prompt and generated tokens together, that fits even at the upper end of the interval of the peak and under the lowest limit.
    pub max_context_tokens: Option<u32>,
    /// The longest context, prompt and generated tokens together, below which every prompt fits by the expected peak.
    /// A longer one may fit where its last chunk needs less than others; that is not counted on.
    pub max_context_at_most_tokens: Option<u32>,
    /// What ends the context.
    pub max_context_bound: Option<ContextBound>,
    /// Changes that help, by what they lose and then by what they gain.
    pub changes: Vec<Advice>,
    /// Changes that would help and are not proposed for what they lose.
    pub changes_withheld: Vec<Withheld>,
}

/// What llama.cpp is started with and allocates.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct LlamaAnswer {
    /// Tokens of all slots together, declared at the start.
    pub context_tokens: u64,
    /// Sequences at once.
    pub slots: u64,
    /// Whether all slots share one cache.
    pub unified: bool,
    /// Tokens of a batch.
    pub micro_batch: u64,
    /// Whether attention is flash attention.
    pub flash_attention: bool,
    /// What is allocated.
    #[serde(flatten)]
    pub buffers: LlamaBuffers,
}

/// A part of the peak.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct PartAnswer {
    /// Its name.
    pub part: &'static str,
    /// Its bytes.
    pub bytes: u64,
}

/// Decode speed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DecodeAnswer {
    /// Mean over the generated tokens, of all sequences together.
    pub tokens_per_s: f64,
    /// Interval that holds 80 % of measurements.
    pub interval_80: [f64; 2],
    /// Interval that holds 90 % of measurements.
    pub interval_90: [f64; 2],
    /// Seconds from one token of a sequence to the next.
    pub seconds_per_token: f64,
    /// Bytes read per step.
    pub bytes_per_token: Option<u64>,
    /// Kernels launched per step.
    pub dispatches_per_token: Option<u64>,
    /// What takes most of the time.
    pub bound: Option<Bound>,
    /// Where the time goes.
    pub terms: Vec<Term>,
    /// The measurements behind it.
    pub evidence: Option<Evidence>,
    /// Speed at other depths.
    pub at_depth: Vec<DepthAnswer>,
    /// How good timed predictions were here.
    pub runs_here: Option<Quality>,
}

/// Decode speed at a depth.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct DepthAnswer {
    /// Tokens in the cache.
    pub context_tokens: u32,
    /// Tokens per second.
    pub tokens_per_s: f64,
    /// Interval that holds 90 % of measurements, where it was timed.
    pub interval_90: Option<[f64; 2]>,
}

/// Prefill speed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct PrefillAnswer {
    /// Prompt tokens per second.
    pub tokens_per_s: f64,
    /// Time to first token.
    pub ttft_s: f64,
    /// Interval that holds 80 % of measurements.
    pub interval_80: [f64; 2],
    /// Interval that holds 90 % of measurements.
    pub interval_90: [f64; 2],
    /// Time to first token at both ends of the 90 % interval.
    pub ttft_interval_90_s: [f64; 2],
    /// With the matrix units of the GPU and without, where it is not known whether the program uses them; the figures above
    /// are those with them.
    pub modes: Option<PrefillModes>,
    /// The first token after a pause without GPU work; `null` where the program keeps its weights resident.
    pub after_pause: Option<PauseAnswer>,
    /// Where the time goes.
    pub terms: Vec<Term>,
    /// The measurements behind it.
    pub evidence: Option<Evidence>,
    /// Basis of the prefill speed.
    pub fidelity: Fidelity,
    /// How good timed predictions were here.
    pub runs_here: Option<Quality>,
}

/// Prefill in each mode of a GPU with matrix units.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct PrefillModes {
    /// With them.
    pub on: PrefillMode,
    /// Without.
    pub off: PrefillMode,
}

/// Prefill in one mode.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct PrefillMode {
    /// Prompt tokens per second.
    pub tokens_per_s: f64,
    /// Interval that holds 80 % of measurements.
    pub interval_80: [f64; 2],
    /// Interval that holds 90 % of measurements.
    pub interval_90: [f64; 2],
    /// Time to first token.
    pub ttft_s: f64,
    /// Time to first token at both ends of the 90 % interval.
    pub ttft_interval_90_s: [f64; 2],
}

/// The first token after a pause.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct PauseAnswer {
    /// What it costs; whether `ttft_s` holds it.
    #[serde(flatten)]
    pub cost: PauseCost,
    /// Time to first token with it.
    pub ttft_s: f64,
}

/// An input and where it comes from.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SourceAnswer {
    /// The input.
    pub input: &'static str,
    /// Its source.
    pub from: String,
}
