//! Everything mlxplan can say about a model on a machine.

use super::memory::{MaxContext, Memory, max_context};
use super::request::Request;
use super::speed::{AtDepth, Decode, Engine, Prefill, Speed, SpeedRequest};
use super::subject::Subject;
use crate::hardware::machine::Machine;
use crate::ledger::cache::Growth;
use crate::ledger::peak::PeakError;
use crate::ledger::weights::Weights;
use crate::roofline::features::FeatureError;
use crate::roofline::{Coefficients, Silicon};
use crate::units::Bytes;
use crate::versions::{MLX_LM, MLX_RULES};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

/// How close the basis of a prediction is to the run itself.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Fidelity {
    /// Specifications and published measurements.
    Spec,
    /// Kernels timed on this machine.
    Calibrated,
    /// This model's own layers timed on this machine.
    LayerTimed,
    /// A real generation.
    Measured,
}

impl Fidelity {
    /// The word in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spec => "spec",
            Self::Calibrated => "calibrated",
            Self::LayerTimed => "layer_timed",
            Self::Measured => "measured",
        }
    }
}

/// What is to be predicted besides model and machine.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The run.
    pub request: Request,
    /// The engine.
    pub engine: Engine,
    /// Memory kept for macOS and other programs; `None` for the default.
    pub reserve: Option<Bytes>,
    /// Cache lengths at which the decode speed is wanted as well.
    pub depths: Vec<u32>,
}

/// A prediction.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Name of the model.
    pub model: String,
    /// `model_type` of its configuration.
    pub family: String,
    /// Format of its weights.
    pub quant: String,
    /// Sizes of its weights.
    pub weights: Weights,
    /// The machine.
    pub machine: Machine,
    /// What was asked.
    pub settings: Settings,
    /// Peak memory, process and limits, of mlx-lm. `None` for engines whose memory is not modelled.
    pub memory: Option<Memory>,
    /// Longest context, of mlx-lm.
    pub max_context: Option<MaxContext>,
    /// What an engine whose memory is not modelled needs at the least.
    pub at_least: Option<AtLeast>,
    /// Decode speed.
    pub decode: Decode,
    /// Decode speed at other depths.
    pub at_depth: Vec<AtDepth>,
    /// Prefill speed and time to first token.
    pub prefill: Prefill,
    /// Basis of the speeds.
    pub fidelity: Fidelity,
    /// Doubts.
    pub warnings: Vec<String>,
}

/// The memory that weights and cache alone take, without buffers for computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct AtLeast {
    /// The weights, in the format of the engine.
    pub weights_bytes: u64,
    /// Keys, values and states of all tokens, at 16 bits.
    pub kv_bytes: u64,
}

impl AtLeast {
    /// Whether even this is more than the GPU may use. That it is less does not mean that the run fits.
    #[must_use]
    pub fn exceeds(&self, machine: &Machine) -> bool {
        self.weights_bytes + self.kv_bytes > machine.gpu_limit.range[1].0
    }
}

/// Why there is no prediction.
#[derive(Debug, Error)]
pub enum PredictError {
    /// The run cannot be simulated.
    #[error(transparent)]
    Peak(#[from] PeakError),
    /// The step cannot be traced.
    #[error(transparent)]
    Features(#[from] FeatureError),
}

impl Request {
    /// The same run as the speed model takes it.
    #[must_use]
    pub fn speed(&self, engine: Engine) -> SpeedRequest {
        SpeedRequest {
            context_tokens: self.context_tokens,
            generate_tokens: self.generate_tokens,
            batch: self.batch,
            prefill_step: self.prefill_step,
            kv: self.kv,
            engine,
            gguf: None,
            fp16_activations: None,
        }
    }
}

impl Prediction {
    /// Predicts.
    ///
    /// # Errors
    /// When mlx-lm could not run the model, or the request is empty.
    pub fn of(
        coefficients: &Coefficients,
        subject: &Subject,
        machine: &Machine,
        settings: &Settings,
    ) -> Result<Self, PredictError> {
        let mut settings = settings.clone();
        let mut warnings = subject.warnings.clone();
        if subject.source.gguf.is_some() && settings.engine == Engine::Mlx {
            settings.engine = Engine::LlamaCpp;
            warnings.push(
                "MLX does not run this GGUF file as it is; predicted for llama.cpp".to_owned(),
            );
        }
        let (graph, request) = (&subject.graph, &settings.request);
        let simulated = settings.engine == Engine::Mlx;
        let speed_request =
            SpeedRequest { gguf: subject.gguf_mix(), ..request.speed(settings.engine) };
        let memory = || -> Result<_, PredictError> {
            if !simulated {
                return Ok((None, None));
            }
            let memory = Memory::of(graph, machine, request, settings.reserve)?;
            let context = max_context(graph, machine, request, settings.reserve, &memory.peak)?;
            Ok((Some(memory), Some(context)))
        };
        // Both need the classes of layers: read once, before.
        graph.layer_plan()?;
        let (memory, speed) = rayon::join(memory, || Speed::of(graph, &speed_request));
        let ((memory, context), speed) = (memory?, speed?);
        let target = Silicon::of(machine);
        let decode = speed.decode(coefficients, &target, &speed_request);
        let prefill = speed.prefill(coefficients, &target, &speed_request);
        let at_depth = speed.decode_at(coefficients, &target, &speed_request, &settings.depths);
        warnings.extend(beyond_the_model(subject, request));
        for text in decode.warnings.iter().chain(&prefill.warnings) {
            if !warnings.contains(text) {
                warnings.push(text.clone());
            }
        }
        let at_least = if simulated {
            None
        } else {
            warnings.push(format!(
                "the memory of {} is not simulated: weights and cache are counted, buffers are not",
                settings.engine
            ));
            let Request { prefill_step, batch, .. } = *request;
            let growth = Growth::of(graph, prefill_step, batch, None).map_err(PeakError::from)?;
            let kv_bytes = growth.bytes(request.total_tokens()).map_err(PeakError::from)?;
            let stored = subject.source.gguf.as_ref().map(|g| g.total_bytes());
            let weights_bytes = stored.unwrap_or(speed.features().weight_bytes as u64);
            Some(AtLeast { weights_bytes, kv_bytes })
        };
        Ok(Self {
            model: subject.id.clone(),
            family: graph.model_type().to_owned(),
            quant: subject.quant.clone(),
            weights: Weights::of(graph),
            machine: machine.clone(),
            settings,
            memory,
            max_context: context,
            at_least,
            decode,
            at_depth,
            prefill,
            fidelity: Fidelity::Spec,
            warnings,
        })
    }

    /// Time to first token at both ends of the 90 % interval of the prefill speed, in seconds.
    #[must_use]
    pub fn ttft_interval_90_s(&self) -> [f64; 2] {
        let r = &self.settings.request;
        self.prefill.ttft_at(self.prefill.interval_90, r.context_tokens, r.batch)
    }

    /// The object `mlxplan.prediction/1`.
    #[must_use]
    pub fn json(&self) -> Value {
        let Request { context_tokens, generate_tokens, batch, prefill_step, kv } =
            self.settings.request;
        let (w, d, p) = (&self.weights, &self.decode, &self.prefill);
        json!({
            "schema": "mlxplan.prediction/1",
            "model": {
                "id": self.model, "family": self.family, "quant": self.quant,
                "parameters": w.parameters, "active_parameters": w.active_parameters,
            },
            "machine": self.machine.summary(),
            "request": {
                "context_tokens": context_tokens, "generate_tokens": generate_tokens, "batch": batch,
                "kv_bits": kv.map(|q| q.packing.bits), "prefill_step": prefill_step,
                "engine": self.settings.engine,
                "reserve_bytes": self.memory.as_ref().map(|m| m.reserve),
            },
            "memory": self.memory_json(),
            "decode": {
                "tokens_per_s": d.tokens_per_s, "interval_80": d.interval_80, "interval_90": d.interval_90,
                "seconds_per_token": d.seconds_per_token, "bytes_per_token": d.bytes_per_token,
                "dispatches_per_token": d.dispatches_per_token, "bound": d.bound, "terms": d.terms,
                "evidence": d.evidence, "at_depth": self.at_depth,
            },
            "prefill": {
                "tokens_per_s": p.tokens_per_s, "ttft_s": p.ttft_s,
                "interval_80": p.interval_80, "interval_90": p.interval_90,
                "ttft_interval_90_s": self.ttft_interval_90_s(),
                "terms": p.terms, "evidence": p.evidence,
            },
            "fidelity": self.fidelity,
            "provenance": self.provenance(),
            "warnings": self.warnings,
        })
    }

    fn memory_json(&self) -> Value {
        let (Some(m), Some(context)) = (&self.memory, &self.max_context) else {
            let no = self.at_least.is_some_and(|a| a.exceeds(&self.machine));
            return json!({
                "weights_bytes": self.at_least.map(|a| a.weights_bytes),
                "kv_bytes": self.at_least.map(|a| a.kv_bytes), "state_bytes": null,
                "run_ahead_bytes": null, "peak_bytes": null, "peak_interval_90_bytes": null,
                "fits": no.then_some("no"), "max_context_tokens": null,
            });
        };
        let peak = &m.peak;
        json!({
            "weights_bytes": self.weights.bytes, "weights_active_bytes": peak.weights_bytes,
            "kv_bytes": peak.kv_bytes, "state_bytes": peak.state_bytes,
            "attention_scratch_bytes": peak.attention_scratch_bytes,
            "run_ahead_bytes": peak.run_ahead_bytes, "peak_bytes": peak.peak_bytes,
            "peak_interval_90_bytes": m.peak_interval_90,
            "peak_phase": peak.phase, "peak_context_tokens": peak.context_tokens,
            "largest_buffer_bytes": peak.largest_buffer_bytes,
            "process": m.process,
            "fits": m.judgement.fits, "verdict": m.judgement.verdict,
            "limits": m.judgement.limits, "swap": m.judgement.swap,
            "max_context_tokens": context.tokens, "max_context_bound": context.bound,
        })
    }

    /// Every input and where it comes from, in words.
    #[must_use]
    pub fn sources(&self) -> Vec<(&'static str, String)> {
        let machine = self.machine.provenance();
        let mut all: Vec<(&str, String)> =
            machine.into_iter().map(|(name, from)| (name, from.to_string())).collect();
        all.push(("decode", self.decode.evidence.text.clone()));
        all.push(("prefill", self.prefill.evidence.text.clone()));
        if self.memory.is_some() {
            let rules =
                format!("simulation of mlx-lm {MLX_LM} by the allocation rules of MLX {MLX_RULES}");
            all.push(("peak", rules));
            all.push(("peak_interval", super::memory::PEAK_INTERVAL_SOURCE.to_owned()));
        }
        all
    }

    fn provenance(&self) -> Vec<Value> {
        let entry = |(input, from): (&str, String)| json!({ "input": input, "from": from });
        self.sources().into_iter().map(entry).collect()
    }
}

/// A remark when the run is longer than the model was made for.
fn beyond_the_model(subject: &Subject, request: &Request) -> Option<String> {
    let made_for = subject.graph.max_context()?;
    (u64::from(request.total_tokens()) > made_for).then(|| {
        format!(
            "{} tokens are more than the {made_for} that the model was made for",
            request.total_tokens()
        )
    })
}
