//! Every model of the catalog in many formats on every configuration at many contexts: over a million predictions, of
//! which identical ones are computed once. Nearly all of the time goes to tracing each model in each format and to
//! simulating its peak, both of which leave equal layers out.
//!
//! Speeds are those of [`crate::estimate::Prediction`], computed once for equal models, formats and GPUs. The peak is
//! `weights + cache + rest`: weights and cache are exact; what comes on top is simulated once for each model, at the end
//! of the run on one GPU at 4 bits, because it hardly depends on the format of the weights. [`Sweep::get`] says `close` where that does
//! not decide; then [`Estimator::memory`] simulates.

use super::offers::Offer;
use crate::estimate::memory::{RUNTIME_BYTES, budget};
use crate::estimate::widening::SWEEP_MARGIN;
use crate::estimate::{EstimateError, Estimator, Run};
use crate::graph::Graph;
use crate::hardware::MacsError;
use crate::hardware::catalog::Macs;
use crate::hardware::machine::Machine;
use crate::ledger::cache::CacheGrowth;
use crate::ledger::peak::{PeakError, end};
use crate::ledger::replay::Gpu;
use crate::ledger::weights::Weights;
use crate::model::catalog::{Models, ModelsError, Summary};
use crate::model::{DType, Scheme};
use crate::roofline::{Coefficients, Silicon};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::HashMap;
use thiserror::Error;

/// What is swept.
#[derive(Clone, Debug)]
pub struct SweepAxes {
    /// Formats.
    pub schemes: Vec<Scheme>,
    /// Prompt lengths in tokens.
    pub contexts: Vec<u32>,
    /// Everything else of the run.
    pub run: Run,
}

/// One prediction.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct SweepCell {
    /// Decode rate, tokens per second.
    pub tok_s: f32,
    /// Its 90 % interval.
    pub tok_s_interval_90: [f32; 2],
    /// Time to first token, seconds.
    pub ttft_s: f32,
    /// Its 90 % interval.
    pub ttft_interval_90_s: [f32; 2],
}

/// Whether a peak stays under the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepFit {
    /// Also if the estimate is too low by its margin.
    Yes,
    /// The margin decides: simulate.
    Close,
    /// Also if the estimate is too high by its margin.
    No,
}

/// A prediction with its memory.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct SweepAnswer {
    /// Speeds.
    #[serde(flatten)]
    pub speeds: SweepCell,
    /// Estimated peak in bytes.
    pub peak_bytes: u64,
    /// Whether it fits.
    pub fit: SweepFit,
}

/// All predictions, those that are alike stored once.
pub struct Sweep {
    /// Models by index.
    pub models: Vec<String>,
    /// Configurations by index.
    pub configs: Vec<(Offer, Machine)>,
    /// Formats by index.
    pub schemes: Vec<Scheme>,
    /// Contexts by index.
    pub contexts: Vec<u32>,
    /// Distinct model of each model.
    kind_of_model: Vec<usize>,
    /// Distinct target of each configuration.
    target_of_config: Vec<usize>,
    /// Bytes that a peak may reach on each configuration.
    budgets: Vec<u64>,
    kinds: Vec<Kind>,
    targets: usize,
}

/// A distinct model in all formats.
struct Kind {
    /// By format, then context, then target.
    cells: Vec<SweepCell>,
    /// Weights by format, `None` where the model has no such format.
    weights: Vec<Option<u64>>,
    /// Cache and what else comes on top of weights, by context.
    on_top: Vec<OnTop>,
}

#[derive(Clone, Copy)]
struct OnTop {
    cache: u64,
    rest: u64,
}

/// Why there is no sweep.
#[derive(Debug, Error)]
pub enum SweepError {
    /// The catalog of Macs has problems.
    #[error(transparent)]
    Hardware(#[from] MacsError),
    /// The catalog of models has problems.
    #[error(transparent)]
    Catalog(#[from] ModelsError),
    /// A model cannot be predicted.
    #[error("{model}: {reason}")]
    Predict {
        /// The model.
        model: String,
        /// Why.
        reason: String,
    },
}

impl SweepError {
    fn of<E: std::fmt::Display>(model: &Summary) -> impl Fn(E) -> Self {
        let model = model.id.clone();
        move |e| Self::Predict { model: model.clone(), reason: e.to_string() }
    }
}

/// The GPU on which what comes on top of weights and cache is simulated.
const REFERENCE: Gpu = Gpu::REFERENCE;

impl SweepAxes {
    /// Eight formats from bf16 to 3 bits, and six contexts from 1024 to 131072 tokens.
    #[must_use]
    pub fn usual() -> Self {
        let affine = |bits| Scheme::Affine { bits, group: 64 };
        let schemes = vec![
            Scheme::Float(DType::BF16),
            affine(8),
            affine(6),
            affine(5),
            affine(4),
            affine(3),
            Scheme::Mxfp4,
            Scheme::Mxfp8,
        ];
        let contexts = vec![1024, 4096, 8192, 16_384, 32_768, 131_072];
        Self { schemes, contexts, run: Run::default() }
    }
}

impl Sweep {
    /// Sweeps models over all configurations of the catalog; [`supported`] are those that mlx-lm runs.
    ///
    /// # Errors
    /// When a catalog has problems or a model cannot be predicted.
    pub fn run(
        models: &[&Summary],
        macs: &Macs,
        coefficients: &Coefficients,
        axes: &SweepAxes,
    ) -> Result<Self, SweepError> {
        let configs = super::offers::every_config(macs)?;
        let mut targets: Vec<Silicon> = Vec::new();
        let target_of_config = configs
            .iter()
            .map(|(_, machine)| {
                let target = Silicon::of(machine);
                let known = targets.iter().position(|t| *t == target);
                known.unwrap_or_else(|| {
                    targets.push(target);
                    targets.len() - 1
                })
            })
            .collect();
        let bases: Vec<(u64, Graph)> =
            models.par_iter().map(|m| base(m)).collect::<Result<_, _>>()?;
        let mut seen: HashMap<u64, usize> = HashMap::new();
        let mut distinct: Vec<(&Summary, Graph)> = Vec::new();
        let mut kind_of_model = Vec::new();
        for (model, (print, graph)) in models.iter().zip(bases) {
            kind_of_model.push(*seen.entry(print).or_insert_with(|| {
                distinct.push((model, graph));
                distinct.len() - 1
            }));
        }
        let kinds: Vec<Kind> = distinct
            .into_par_iter()
            .map(|(model, base)| Kind::of(model, &base, &targets, coefficients, axes))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            models: models.iter().map(|m| m.id.clone()).collect(),
            budgets: configs.iter().map(|(_, m)| budget(m, None).0).collect(),
            configs,
            schemes: axes.schemes.clone(),
            contexts: axes.contexts.clone(),
            kind_of_model,
            target_of_config,
            kinds,
            targets: targets.len(),
        })
    }

    /// How many predictions there are: models, formats, configurations, contexts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.models.len() * self.schemes.len() * self.configs.len() * self.contexts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many distinct models and GPUs there are.
    #[must_use]
    pub fn distinct(&self) -> (usize, usize) {
        (self.kinds.len(), self.targets)
    }

    /// The prediction for a model, format, configuration and context by their indices; `None` when an index is out of
    /// range or the model has no such format.
    #[must_use]
    pub fn get(
        &self,
        model: usize,
        scheme: usize,
        config: usize,
        context: usize,
    ) -> Option<SweepAnswer> {
        let kind = self.kinds.get(*self.kind_of_model.get(model)?)?;
        let target = *self.target_of_config.get(config)?;
        let weights = (*kind.weights.get(scheme)?)?;
        let top = kind.on_top.get(context)?;
        let cell = (scheme * self.contexts.len() + context) * self.targets + target;
        let peak = weights + top.cache + top.rest;
        let margin = SWEEP_MARGIN.of(top.rest);
        let most = *self.budgets.get(config)?;
        let fit = if peak + margin <= most {
            SweepFit::Yes
        } else if weights > most || peak.saturating_sub(margin) > most + RUNTIME_BYTES[1] {
            SweepFit::No
        } else {
            SweepFit::Close
        };
        Some(SweepAnswer { speeds: *kind.cells.get(cell)?, peak_bytes: peak, fit })
    }
}

/// The models of a catalog that mlx-lm runs.
#[must_use]
pub fn supported(catalog: &Models) -> Vec<&Summary> {
    catalog.offered().collect()
}

/// The graph of a model at 4 bits, and what models share that do the same.
fn base(model: &Summary) -> Result<(u64, Graph), SweepError> {
    let entry = model.entry()?;
    let graph = Graph::quantized(&entry.config, Scheme::DEFAULT).map_err(SweepError::of(model))?;
    let graph = graph.with_fp16_activations(Some(entry.hub_conversions_are_fp16()));
    let print = graph.fingerprint().map_err(SweepError::of(model))?;
    Ok((print, graph))
}

impl Kind {
    fn of(
        model: &Summary,
        base: &Graph,
        targets: &[Silicon],
        coefficients: &Coefficients,
        axes: &SweepAxes,
    ) -> Result<Self, SweepError> {
        let entry = model.entry()?;
        let (config, fp16) = (&entry.config, entry.hub_conversions_are_fp16());
        let speeds = |&scheme: &Scheme| -> Result<(Option<u64>, Vec<SweepCell>), SweepError> {
            let Ok(graph) = Graph::quantized(config, scheme) else {
                return Ok((None, vec![SweepCell::NONE; axes.contexts.len() * targets.len()]));
            };
            let weights = Weights::of(&graph).bytes;
            let quantized = !matches!(scheme, Scheme::Float(_));
            let graph =
                graph.with_fp16_activations(quantized.then_some(fp16)).with_layer_plan_of(base);
            let estimator = Estimator::of_graph(coefficients, &graph, axes.run);
            estimator.speed().map_err(SweepError::of(model))?;
            let mut cells = Vec::with_capacity(axes.contexts.len() * targets.len());
            for &context in &axes.contexts {
                let estimator = estimator.with_run(axes.run.with_context(context));
                for target in targets {
                    cells.push(SweepCell::of(&estimator, target).map_err(SweepError::of(model))?);
                }
            }
            Ok((Some(weights), cells))
        };
        // The simulation of some models takes as long as all else: it must not be left to one core at the end.
        let (on_top, by_scheme) = rayon::join(
            || on_top(base, axes).map_err(SweepError::of(model)),
            || axes.schemes.par_iter().map(speeds).collect::<Result<Vec<_>, _>>(),
        );
        let on_top = on_top?;
        let (weights, cells): (Vec<_>, Vec<_>) = by_scheme?.into_iter().unzip();
        let cells = cells.concat();
        Ok(Self { cells, weights, on_top })
    }
}

fn on_top(graph: &Graph, axes: &SweepAxes) -> Result<Vec<OnTop>, PeakError> {
    let r = axes.run;
    let growth = CacheGrowth::of(graph, r.engine.prefill_step, r.work.batch, r.engine.kv)?;
    let mut out: Vec<OnTop> = Vec::new();
    let mut fused = None;
    for &context_tokens in &axes.contexts {
        let run = r.with_context(context_tokens);
        let cache = growth.bytes(run.total_tokens())?;
        let whole_chunk = context_tokens > r.engine.prefill_step;
        let rest = match fused {
            // Where attention is fused, nothing but the cache grows with the context.
            Some(rest) if whole_chunk => rest,
            _ => {
                let found = end(graph, &run, REFERENCE.with_mlx(run.engine.mlx.taken))?;
                let rest = found.peak_bytes.saturating_sub(found.weights_bytes + cache);
                if whole_chunk && found.attention_scratch_bytes == 0 && r.engine.kv.is_none() {
                    fused = Some(rest);
                }
                rest
            }
        };
        out.push(OnTop { cache, rest });
    }
    Ok(out)
}

impl SweepCell {
    const NONE: Self = Self {
        tok_s: f32::NAN,
        tok_s_interval_90: [f32::NAN; 2],
        ttft_s: f32::NAN,
        ttft_interval_90_s: [f32::NAN; 2],
    };

    fn of(estimator: &Estimator<'_>, silicon: &Silicon) -> Result<Self, EstimateError> {
        let (decode, prefill) = estimator.rates(silicon)?;
        let work = estimator.run().work;
        let ttft = prefill.ttft_at(prefill.interval_90, &work);
        Ok(Self {
            tok_s: decode.tokens_per_s as f32,
            tok_s_interval_90: decode.interval_90.map(|x| x as f32),
            ttft_s: prefill.ttft_s as f32,
            ttft_interval_90_s: ttft.map(|x| x as f32),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::memory::Memory;

    /// The sweep says what single predictions say, and its estimate of the peak lies within its margin.
    #[test]
    fn a_sweep_agrees_with_single_predictions() {
        let catalog = Models::built_in().expect("built in");
        let ids = ["Qwen/Qwen3-8B", "openai/gpt-oss-20b", "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B"];
        let models: Vec<&Summary> = ids.iter().map(|id| catalog.get(id).expect("known")).collect();
        let coefficients = Coefficients::embedded().expect("built in");
        let axes = SweepAxes {
            schemes: vec![Scheme::Float(DType::BF16), Scheme::Affine { bits: 6, group: 64 }],
            contexts: vec![1000, 20_000],
            run: Run::default(),
        };
        let sweep = Sweep::run(&models, &Macs::embedded(), coefficients, &axes).expect("swept");
        assert!(sweep.configs.len() >= 178 && sweep.distinct().0 == 2, "{:?}", sweep.distinct());
        for config in (0..sweep.configs.len()).step_by(37) {
            let machine = &sweep.configs[config].1;
            for (m, (s, c)) in [(0, (0, 1)), (1, (1, 0)), (2, (1, 1))] {
                let found = sweep.get(m, s, config, c).expect("there");
                let entry = models[m].entry().expect("readable");
                let graph =
                    Graph::quantized(&entry.config, axes.schemes[s]).expect("a known family");
                let run = axes.run.with_context(axes.contexts[c]);
                let single = Estimator::of_graph(coefficients, &graph, run);
                let (d, _) = single.speeds(machine).expect("runs");
                assert_eq!(
                    found.speeds.tok_s, d.tokens_per_s as f32,
                    "{} {}",
                    models[m].id, machine.id
                );
                let memory = Memory::of(&graph, machine, &run).expect("runs");
                let peak = memory.peak.peak_bytes;
                let top = sweep.kinds[sweep.kind_of_model[m]].on_top[c];
                let margin = SWEEP_MARGIN.of(top.rest);
                assert!(
                    peak.abs_diff(found.peak_bytes) <= margin,
                    "{} {}: {peak} {found:?}",
                    models[m].id,
                    machine.id
                );
            }
        }
        assert_eq!(sweep.get(3, 0, 0, 0), None);
    }
}
