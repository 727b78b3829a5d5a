//! Answers made of predictions.

use super::{
    DecodeAnswer, DepthAnswer, EngineAnswer, FormatAnswer, ImagesAnswer, LlamaAnswer, MemoryAnswer,
    ModelAnswer, PartAnswer, PauseAnswer, PredictionAnswer, PrefillAnswer, PrefillMode,
    PrefillModes, RateAnswer, RunKeys, SourceAnswer, WithoutEvidence,
};
use crate::calibration::Fidelity;
use crate::calibration::evidence::PredictedRate;
use crate::estimate::basis::Timed;
use crate::estimate::memory::{LlamaMemory, Memory};
use crate::estimate::speed::{AtDepth, Prefill};
use crate::estimate::{Named, OpenedModel, Prediction, TimedAlone, uses_matrix_units};
use crate::graph::towers::ModelPart;
use crate::hardware::machine::Machine;
use crate::ledger::weights::Weights;
use crate::run::{EngineSetup, Images, MatrixUnits, Run, Work};
use crate::units::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use std::borrow::Cow;

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

impl From<&OpenedModel> for ModelAnswer {
    fn from(model: &OpenedModel) -> Self {
        let weights = Weights::of(&model.graph);
        Self {
            id: model.id.clone(),
            family: model.graph.model_type().to_owned(),
            quant: model.quant.clone(),
            parameters: weights.parameters,
            active_parameters: weights.active_parameters,
        }
    }
}

impl FormatAnswer {
    fn of(named: &Named, run: &Run) -> Self {
        Self {
            id: named.quant.clone(),
            origin: run.file.origin,
            weights_interval_bytes: Some(match run.file.weights_range {
                Some(range) => range.map(|over| (named.weights.bytes as f64 * over) as u64),
                None => named.stored.interval,
            }),
            published_loss: named.loss(run.file.origin),
        }
    }
}

impl EngineAnswer {
    /// The engine of a run, on a machine where that is a Mac.
    #[must_use]
    pub fn of(run: &Run, machine: Option<&Machine>) -> Self {
        let engine = &run.engine;
        let mlx = (!engine.program.runs_gguf()).then_some(engine.mlx);
        Self {
            program: engine.program,
            version: engine.version,
            mlx: mlx.map(|m| m.taken),
            mlx_interval: mlx.map(|m| m.range),
            macos: engine.macos,
            nax: machine.filter(|_| mlx.is_some()).map_or("unknown", |m| nax(m, engine)),
            prefill_step: engine.chunk(),
            kv_type: engine.kv_type(),
        }
    }

    /// The engine of a prediction, with the batch that llama.cpp was found to take.
    #[must_use]
    pub fn of_prediction(p: &Prediction) -> Self {
        Self::of(&p.with_batch_taken(), Some(&p.machine))
    }
}

/// Whether MLX uses the matrix units of a machine.
fn nax(machine: &Machine, engine: &EngineSetup) -> &'static str {
    let assumed = engine.matrix_units == MatrixUnits::Auto && engine.macos.is_none();
    match uses_matrix_units(machine, engine, engine.mlx.taken) {
        false => "off",
        true if assumed => "unknown",
        true => "on",
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
            prefill_step: run.engine.chunk(),
            engine: run.engine.program,
            engine_version: run.engine.version,
            mlx: (!run.engine.program.runs_gguf()).then_some(run.engine.mlx.taken),
            reserve_bytes: run.engine.reserve,
            gpu_limit_bytes: run.engine.gpu_limit,
            budget_memory_bytes: run.engine.budget,
            prompt_cache_bytes: run.engine.prompt_cache,
            parallel: run.engine.parallel,
            idle_s: run.conditions.idle_s,
            images: run.work.images.map(ImagesAnswer::from),
        }
    }
}

impl From<Images> for ImagesAnswer {
    fn from(images: Images) -> Self {
        let Images { count, width, height, tokens_each } = images;
        Self { count, width, height, tokens_each }
    }
}

impl MemoryAnswer {
    fn of(p: &Prediction) -> Self {
        let Some(memory) = &p.memory else { return Self::default() };
        let peak = &memory.peak;
        let on_mlx = memory.llama.is_none();
        Self {
            weights_bytes: Some(stored(p)),
            weights_active_bytes: Some(peak.weights_bytes).filter(|_| on_mlx),
            kv_bytes: Some(peak.kv_bytes),
            state_bytes: Some(peak.state_bytes),
            run_ahead_bytes: Some(peak.run_ahead_bytes).filter(|_| on_mlx),
            parts: parts(memory, &p.model),
            peak_bytes: Some(peak.peak_bytes),
            peak_interval_90_bytes: Some(memory.peak_interval_90),
            peak_phase: Some(peak.phase),
            peak_context_tokens: Some(peak.context_tokens),
            largest_buffer_bytes: Some(peak.largest_buffer_bytes),
            process: Some(memory.process).filter(|_| on_mlx),
            llama_cpp: memory.llama.map(LlamaAnswer::from),
            footprint_interval_bytes: Some(memory.process.footprint_bytes),
            fits: Some(memory.judgment.verdict),
            limits: memory.judgment.limits.clone(),
            swap: memory.judgment.swap,
            max_context_tokens: p.context.map(|c| c.safe.tokens),
            max_context_at_most_tokens: p.context.map(|c| c.at_most.tokens),
            max_context_bound: p.context.map(|c| c.at_most.bound),
            changes: p.changes.clone(),
            changes_withheld: p.withheld.clone(),
        }
    }
}

/// Bytes of the weights as stored.
fn stored(p: &Prediction) -> u64 {
    let llama = p.memory.as_ref().and_then(|m| m.llama);
    llama.map_or(p.model.weights.bytes, |l| l.buffers.weights_bytes)
}

fn parts(memory: &Memory, model: &Named) -> Vec<PartAnswer> {
    let p = &memory.peak;
    let answer = |(part, bytes)| PartAnswer { part, bytes };
    let draft = (memory.draft > Bytes::ZERO).then(|| answer(("draft", memory.draft.0)));
    if memory.llama.is_some() {
        let all = [
            ("weights", p.weights_bytes),
            ("kv", p.kv_bytes),
            ("state", p.state_bytes),
            ("compute", p.run_ahead_bytes),
        ];
        return all.map(answer).into_iter().chain(draft).collect();
    }
    let towers = model.parts.iter().filter(|size| size.part != ModelPart::Language);
    let towers: Vec<PartAnswer> = towers
        .map(|size| PartAnswer { part: size.part.name(), bytes: size.active_bytes })
        .collect();
    let beside: u64 = towers.iter().map(|part| part.bytes).sum();
    let language = ("weights", p.weights_bytes.saturating_sub(beside));
    let rest = [
        ("kv", p.kv_bytes),
        ("state", p.state_bytes),
        ("scores", p.attention_scratch_bytes),
        ("run_ahead", p.run_ahead_bytes),
    ];
    let kept = (p.kept_bytes > 0).then_some(answer(("prompt_cache", p.kept_bytes)));
    let all = std::iter::once(answer(language)).chain(towers).chain(rest.map(answer));
    all.chain(kept).chain(draft).collect()
}

impl From<PredictedRate> for RateAnswer {
    fn from(p: PredictedRate) -> Self {
        Self { tokens_per_s: p.rate, interval_80: p.interval_80, interval_90: p.interval_90 }
    }
}

impl PrefillMode {
    fn of(prefill: &Prefill, work: &Work) -> Self {
        Self {
            tokens_per_s: prefill.tokens_per_s,
            interval_80: prefill.interval_80,
            interval_90: prefill.interval_90,
            ttft_s: prefill.ttft_s,
            ttft_interval_90_s: prefill.ttft_at(prefill.interval_90, work),
        }
    }
}

impl PrefillModes {
    /// Both modes, where it is not known which one it is.
    #[must_use]
    pub fn of(prefill: &Prefill, work: &Work) -> Option<Self> {
        let off = prefill.without_units.as_deref()?;
        Some(Self { on: PrefillMode::of(prefill, work), off: PrefillMode::of(off, work) })
    }
}

impl PauseAnswer {
    fn of(prefill: &Prefill) -> Option<Self> {
        let cost = prefill.pause?;
        let ttft_s = if cost.counted { prefill.ttft_s } else { prefill.ttft_s + cost.seconds };
        Some(Self { cost, ttft_s })
    }
}

impl From<LlamaMemory> for LlamaAnswer {
    fn from(memory: LlamaMemory) -> Self {
        let s = memory.settings;
        Self {
            context_tokens: s.context,
            slots: s.slots,
            unified: s.unified,
            micro_batch: s.micro_batch,
            flash_attention: s.flash,
            buffers: memory.buffers,
        }
    }
}

impl From<AtDepth> for DepthAnswer {
    fn from(at: AtDepth) -> Self {
        Self { context_tokens: at.context_tokens, tokens_per_s: at.tokens_per_s, interval_90: None }
    }
}

impl From<&Prediction> for PredictionAnswer {
    fn from(p: &Prediction) -> Self {
        let (d, f) = (&p.decode, &p.prefill);
        let reserve = p.memory.as_ref().map(|m| m.reserve).or(p.run.engine.reserve);
        let timed_prompt = p.runs_here.prefill.is_some();
        let measured_prompt = p.own_runs.as_ref().is_some_and(|own| own.prefill.is_some());
        Self {
            model: (&p.model).into(),
            format: FormatAnswer::of(&p.model, &p.run),
            engine: EngineAnswer::of_prediction(p),
            machine: Some(p.machine.summary()),
            request: RunKeys::of(&p.run.with_reserve(reserve)),
            memory: MemoryAnswer::of(p),
            decode: p.generates().then(|| DecodeAnswer {
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
            }),
            prefill: Some(PrefillAnswer {
                tokens_per_s: f.tokens_per_s,
                ttft_s: f.ttft_s,
                interval_80: f.interval_80,
                interval_90: f.interval_90,
                ttft_interval_90_s: p.ttft_interval_90_s(),
                modes: PrefillModes::of(f, &p.run.work),
                after_pause: PauseAnswer::of(f),
                terms: f.terms_to_first_token(),
                evidence: Some(f.evidence.clone()),
                fidelity: match (measured_prompt, timed_prompt) {
                    (true, _) => Fidelity::Measured,
                    (false, true) => Fidelity::Calibrated,
                    (false, false) => Fidelity::Spec,
                },
                runs_here: p.runs_here.prefill.clone().flatten(),
            }),
            streamed_experts: p.streamed.clone(),
            power: p.power.clone(),
            fidelity: p.fidelity,
            evidence: p.own_runs.as_ref().map(|own| own.ids.clone()).unwrap_or_default(),
            without_evidence: p.own_runs.as_ref().map(|own| WithoutEvidence {
                decode: own.decode.map(RateAnswer::from),
                prefill: own.prefill.map(RateAnswer::from),
            }),
            not_modeled: p.not_modeled(),
            widenings: p.widenings().cloned().collect(),
            provenance: sources(p.sources()),
            warnings: p.warnings.clone(),
            explain: p.explanation.clone(),
            speculation: p.speculation.clone(),
        }
    }
}

impl From<&TimedAlone> for PredictionAnswer {
    fn from(p: &TimedAlone) -> Self {
        let rates = p.timing.decode.rates(1.0);
        let at_depth = |(tokens, timed): &(u32, Timed)| {
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
            format: FormatAnswer::of(&p.model, &p.run),
            engine: EngineAnswer::of(&p.run, None),
            machine: None,
            request: RunKeys::of(&p.run),
            memory: MemoryAnswer {
                weights_bytes: Some(weights),
                parts: vec![part],
                ..MemoryAnswer::default()
            },
            decode: Some(DecodeAnswer {
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
            }),
            prefill: p.timing.prompt.as_ref().map(|prompt| {
                let (rates, (ttft_s, ttft_interval_90_s)) = (prompt.rates(), prompt.ttft());
                PrefillAnswer {
                    tokens_per_s: rates.rate,
                    ttft_s,
                    interval_80: rates.interval_80,
                    interval_90: rates.interval_90,
                    ttft_interval_90_s,
                    modes: None,
                    after_pause: None,
                    terms: Vec::new(),
                    evidence: None,
                    fidelity: Fidelity::Calibrated,
                    runs_here: prompt.quality.clone(),
                }
            }),
            streamed_experts: None,
            power: None,
            fidelity: p.timing.fidelity,
            evidence: Vec::new(),
            without_evidence: None,
            not_modeled: vec!["memory limits: this machine is no Apple Silicon Mac".to_owned()],
            widenings: Vec::new(),
            provenance: sources(p.sources()),
            warnings: p.warnings.clone(),
            explain: None,
            speculation: None,
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
