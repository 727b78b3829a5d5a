//! A prediction as programs read it: the one shape of `mlxplan.prediction/2`.

use super::explain::Explanation;
use super::memory::{Advice, ContextBound, Fit, Limit, Memory, Process, Swap};
use super::prediction::{Named, Prediction, TimedAlone};
use super::speed::{AtDepth, Evidence, Term};
use super::warning::Warning;
use super::widening::Widening;
use crate::calibration::Fidelity;
use crate::calibration::evidence::Quality;
use crate::hardware::machine::MachineSummary;
use crate::ledger::peak::Phase;
use crate::roofline::Bound;
use crate::run::{FormatOrigin, Program, Run};
use crate::units::Bytes;
use crate::versions::{MLX_LM, MLX_RULES};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use std::borrow::Cow;

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
    /// Decode speed.
    pub decode: DecodeAnswer,
    /// Prefill speed; `null` where nothing is known of it.
    pub prefill: Option<PrefillAnswer>,
    /// Basis of the decode speed.
    pub fidelity: Fidelity,
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
}

/// An engine.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct EngineAnswer {
    /// The program.
    pub program: Program,
    /// Its version.
    pub version: Option<&'static str>,
    /// The version of MLX.
    pub mlx: Option<&'static str>,
    /// The version of macOS.
    pub macos: Option<String>,
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
    /// Bits of a quantised cache.
    pub kv_bits: Option<u32>,
    /// Tokens of a prefill chunk.
    pub prefill_step: u32,
    /// The program.
    pub engine: Program,
    /// Memory kept for macOS and other programs, where it is known for which machine.
    pub reserve_bytes: Option<Bytes>,
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
    /// Lowest and highest footprint of the process.
    pub footprint_interval_bytes: Option<[u64; 2]>,
    /// Whether it fits.
    pub fits: Option<Fit>,
    /// Every limit with its need.
    pub limits: Vec<Limit>,
    /// What swapping would cost, where memory does not suffice.
    pub swap: Option<Swap>,
    /// The longest context that fits even at the upper end of the interval of the peak and under the lowest limit.
    pub max_context_tokens: Option<u32>,
    /// The longest context that fits by the expected peak.
    pub max_context_at_most_tokens: Option<u32>,
    /// What ends the context.
    pub max_context_bound: Option<ContextBound>,
    /// Changes that help, the cheapest first.
    pub changes: Vec<Advice>,
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
    /// Where the time goes.
    pub terms: Vec<Term>,
    /// The measurements behind it.
    pub evidence: Option<Evidence>,
    /// Basis of the prefill speed.
    pub fidelity: Fidelity,
    /// How good timed predictions were here.
    pub runs_here: Option<Quality>,
}

/// An input and where it comes from.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SourceAnswer {
    /// The input.
    pub input: &'static str,
    /// Its source.
    pub from: String,
}

impl From<&Named> for ModelAnswer {
    fn from(named: &Named) -> Self {
        Self {
            id: named.id.clone(),
            family: named.family.clone(),
            quant: named.quant.clone(),
            parameters: named.weights.parameters,
            active_parameters: named.weights.active_parameters,
        }
    }
}

impl FormatAnswer {
    fn of(named: &Named, run: &Run, bytes: Option<u64>) -> Self {
        Self {
            id: named.quant.clone(),
            origin: run.file.origin,
            weights_interval_bytes: bytes.map(|b| [b, b]),
        }
    }
}

impl EngineAnswer {
    /// The engine of a run; `matrix_units` where the machine has such, and is known.
    #[must_use]
    pub fn of(run: &Run, matrix_units: Option<bool>) -> Self {
        let program = run.engine.program;
        let mlx = !program.runs_gguf();
        Self {
            program,
            version: (program == Program::MlxLm).then_some(MLX_LM),
            mlx: mlx.then_some(MLX_RULES),
            macos: None,
            // Whether macOS and MLX use those that are there is not known.
            nax: if mlx && matrix_units == Some(false) { "off" } else { "unknown" },
            prefill_step: run.engine.prefill_step,
            kv_type: run.engine.kv_type(),
        }
    }
}

impl RunKeys {
    /// The keys of a run.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        Self {
            context_tokens: run.work.context_tokens,
            generate_tokens: run.work.generate_tokens,
            batch: run.work.batch,
            kv_bits: run.engine.kv.map(|q| q.packing.bits),
            prefill_step: run.engine.prefill_step,
            engine: run.engine.program,
            reserve_bytes: run.engine.reserve,
        }
    }
}

impl MemoryAnswer {
    fn of(p: &Prediction) -> Self {
        let Some(memory) = &p.memory else { return Self::at_least(p) };
        let peak = &memory.peak;
        Self {
            weights_bytes: Some(p.model.weights.bytes),
            weights_active_bytes: Some(peak.weights_bytes),
            kv_bytes: Some(peak.kv_bytes),
            state_bytes: Some(peak.state_bytes),
            run_ahead_bytes: Some(peak.run_ahead_bytes),
            parts: parts(memory),
            peak_bytes: Some(peak.peak_bytes),
            peak_interval_90_bytes: Some(memory.peak_interval_90),
            peak_phase: Some(peak.phase),
            peak_context_tokens: Some(peak.context_tokens),
            largest_buffer_bytes: Some(peak.largest_buffer_bytes),
            process: Some(memory.process),
            footprint_interval_bytes: Some(memory.process.footprint_bytes),
            fits: Some(memory.judgement.verdict),
            limits: memory.judgement.limits.clone(),
            swap: memory.judgement.swap,
            max_context_tokens: p.context.map(|c| c.safe.tokens),
            max_context_at_most_tokens: p.context.map(|c| c.at_most.tokens),
            max_context_bound: p.context.map(|c| c.at_most.bound),
            changes: p.changes.clone(),
        }
    }

    /// Weights and cache of a program whose memory is not simulated.
    fn at_least(p: &Prediction) -> Self {
        let Some(least) = p.at_least else { return Self::default() };
        Self {
            weights_bytes: Some(least.weights_bytes),
            kv_bytes: Some(least.kv_bytes),
            parts: vec![
                PartAnswer { part: "weights", bytes: least.weights_bytes },
                PartAnswer { part: "kv", bytes: least.kv_bytes },
            ],
            fits: least.exceeds(&p.machine).then_some(Fit::No),
            ..Self::default()
        }
    }
}

fn parts(memory: &Memory) -> Vec<PartAnswer> {
    let p = &memory.peak;
    [
        ("weights", p.weights_bytes),
        ("kv", p.kv_bytes),
        ("state", p.state_bytes),
        ("scores", p.attention_scratch_bytes),
        ("run_ahead", p.run_ahead_bytes),
    ]
    .map(|(part, bytes)| PartAnswer { part, bytes })
    .to_vec()
}

impl From<AtDepth> for DepthAnswer {
    fn from(at: AtDepth) -> Self {
        Self { context_tokens: at.context_tokens, tokens_per_s: at.tokens_per_s, interval_90: None }
    }
}

impl From<&Prediction> for PredictionAnswer {
    fn from(p: &Prediction) -> Self {
        let (d, f) = (&p.decode, &p.prefill);
        let bytes = p.at_least.map_or(p.model.weights.bytes, |a| a.weights_bytes);
        let reserve = p.memory.as_ref().map(|m| m.reserve).or(p.run.engine.reserve);
        let timed_prompt = p.runs_here.prefill.is_some();
        Self {
            model: (&p.model).into(),
            format: FormatAnswer::of(&p.model, &p.run, Some(bytes)),
            engine: EngineAnswer::of(&p.run, Some(p.machine.matrix_units.value)),
            machine: Some(p.machine.summary()),
            request: RunKeys::of(&p.run.with_reserve(reserve)),
            memory: MemoryAnswer::of(p),
            decode: DecodeAnswer {
                tokens_per_s: d.tokens_per_s,
                interval_80: d.interval_80,
                interval_90: d.interval_90,
                seconds_per_token: d.seconds_per_token,
                bytes_per_token: Some(d.bytes_per_token),
                dispatches_per_token: Some(d.dispatches_per_token),
                bound: Some(d.bound),
                terms: d.terms.clone(),
                evidence: Some(d.evidence.clone()),
                at_depth: p.at_depth.iter().copied().map(DepthAnswer::from).collect(),
                runs_here: p.runs_here.decode.clone(),
            },
            prefill: Some(PrefillAnswer {
                tokens_per_s: f.tokens_per_s,
                ttft_s: f.ttft_s,
                interval_80: f.interval_80,
                interval_90: f.interval_90,
                ttft_interval_90_s: p.ttft_interval_90_s(),
                terms: f.terms.clone(),
                evidence: Some(f.evidence.clone()),
                fidelity: if timed_prompt { Fidelity::Calibrated } else { Fidelity::Spec },
                runs_here: p.runs_here.prefill.clone().flatten(),
            }),
            fidelity: p.fidelity,
            not_modeled: p.not_modeled(),
            widenings: p.widenings().cloned().collect(),
            provenance: sources(p.sources()),
            warnings: p.warnings.clone(),
            explain: p.explanation.clone(),
        }
    }
}

impl From<&TimedAlone> for PredictionAnswer {
    fn from(p: &TimedAlone) -> Self {
        let rates = p.timing.decode.rates(1.0);
        let at_depth = |(tokens, timed): &(u32, super::basis::Timed)| {
            let rates = timed.rates(1.0);
            DepthAnswer {
                context_tokens: *tokens,
                tokens_per_s: rates.rate,
                interval_90: Some(rates.interval_90),
            }
        };
        let weights = p.model.weights.bytes;
        let part = PartAnswer { part: "weights", bytes: weights };
        Self {
            model: (&p.model).into(),
            format: FormatAnswer::of(&p.model, &p.run, Some(weights)),
            engine: EngineAnswer::of(&p.run, None),
            machine: None,
            request: RunKeys::of(&p.run),
            memory: MemoryAnswer {
                weights_bytes: Some(weights),
                parts: vec![part],
                ..MemoryAnswer::default()
            },
            decode: DecodeAnswer {
                tokens_per_s: rates.rate,
                interval_80: rates.interval_80,
                interval_90: rates.interval_90,
                seconds_per_token: p.timing.decode.seconds,
                bytes_per_token: None,
                dispatches_per_token: None,
                bound: None,
                terms: Vec::new(),
                evidence: None,
                at_depth: p.timing.at_depth.iter().map(at_depth).collect(),
                runs_here: p.timing.quality.clone(),
            },
            prefill: p.timing.prompt.as_ref().map(|prompt| {
                let (rates, (ttft_s, ttft_interval_90_s)) = (prompt.rates(), prompt.ttft());
                PrefillAnswer {
                    tokens_per_s: rates.rate,
                    ttft_s,
                    interval_80: rates.interval_80,
                    interval_90: rates.interval_90,
                    ttft_interval_90_s,
                    terms: Vec::new(),
                    evidence: None,
                    fidelity: Fidelity::Calibrated,
                    runs_here: prompt.quality.clone(),
                }
            }),
            fidelity: p.timing.fidelity,
            not_modeled: vec!["memory limits: this machine is no Apple Silicon Mac".to_owned()],
            widenings: Vec::new(),
            provenance: sources(p.sources()),
            warnings: p.warnings.clone(),
            explain: None,
        }
    }
}

fn sources(all: Vec<(&'static str, String)>) -> Vec<SourceAnswer> {
    all.into_iter().map(|(input, from)| SourceAnswer { input, from }).collect()
}

impl Serialize for Prediction {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PredictionAnswer::from(self).serialize(serializer)
    }
}

impl Serialize for TimedAlone {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PredictionAnswer::from(self).serialize(serializer)
    }
}

impl JsonSchema for Prediction {
    fn schema_name() -> Cow<'static, str> {
        PredictionAnswer::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        PredictionAnswer::json_schema(generator)
    }
}

impl JsonSchema for TimedAlone {
    fn schema_name() -> Cow<'static, str> {
        PredictionAnswer::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        PredictionAnswer::json_schema(generator)
    }
}
