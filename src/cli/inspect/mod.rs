//! `mlxplan inspect`: exact sizes of a model and the traffic of a decode step.

pub(super) mod answer;
pub(super) mod args;
mod operations;

use super::shared::context::Context;
use super::shared::exit::ExitStatus;
use super::shared::opening::About;
use super::shared::run_args::kv_quantization;
use crate::estimate::{GgufWeights, OpenedModel};
use crate::graph::cache::KvQuantization;
use crate::graph::{Call, SkippedLayers};
use crate::ledger::cache::{self, PREFILL_STEP};
use crate::ledger::peak::{self, Peak};
use crate::ledger::replay::Gpu;
use crate::ledger::traffic::{self, Traffic};
use crate::ledger::weights::{self, Weights};
use crate::report::Answer;
use crate::run::{Program, Run};
use answer::InspectAnswer;
use anyhow::{Result, anyhow};
use args::InspectArgs;

/// Tokens in the cache at the decode step whose traffic is shown.
const STEP_CONTEXT: u32 = 4096;
/// The GPU whose launch rules count kernels: a Max chip without matrix units.
const REFERENCE_GPU: Gpu = Gpu::REFERENCE;

pub(super) fn run(context: &Context, args: &InspectArgs) -> Result<(Answer, ExitStatus)> {
    let quant = args.quant.as_deref();
    let program: Program = args.engine.parse().map_err(|e| anyhow!("--engine: {e}"))?;
    let subject =
        context.any_model_for(Program::default(), &args.model, quant, args.assume.as_deref())?;
    let subject = subject.loaded_by(program)?;
    let kv = kv_quantization(args.kv_bits)?;
    let sizes = Sizes::of(&subject, &args.tokens, kv).about(&subject)?;
    let listed = || match &sizes.gguf {
        Some(gguf) => gguf.tensors.clone(),
        None => weights::tensors(&subject.graph),
    };
    let tensors = args.tensors.then(listed);
    let ops = args.ops.then(|| operations::of(&subject.graph)).transpose()?;
    Ok((Answer::of(InspectAnswer::of(&subject, program, sizes, tensors, ops)), ExitStatus::Ok))
}

/// The tokens between which the growth of the cache is read off. A quantized cache is packed at some length, so that
/// both lie behind that one.
const fn growth_span(kv: Option<KvQuantization>) -> [u32; 2] {
    match kv {
        Some(q) if q.start > 4096 => {
            let from = q.start.div_ceil(4096).saturating_mul(4096);
            [from, from.saturating_add(4096)]
        }
        _ => [4096, 8192],
    }
}

struct Sizes {
    weights: Weights,
    /// Tokens and the bytes of the cache after them.
    cache: Vec<(u32, u64)>,
    /// How the cache is quantized, if it is.
    kv: Option<KvQuantization>,
    kv_per_token: f64,
    classes: Vec<(String, usize)>,
    step: Traffic,
    flops_per_prefill_token: f64,
    /// Of mlx-lm; `None` for a GGUF file.
    peak: Option<Peak>,
    gguf: Option<GgufWeights>,
}

impl Sizes {
    fn of(subject: &OpenedModel, tokens: &[u32], kv: Option<KvQuantization>) -> Result<Self> {
        let graph = &subject.graph;
        let after = |n: u32| -> Result<u64> {
            let caches = cache::after_prompt(graph, n, PREFILL_STEP, 1, kv)?;
            Ok(cache::bytes(&caches))
        };
        let [from, to] = growth_span(kv);
        let slope = (after(to)? as f64 - after(from)? as f64) / f64::from(to - from);
        let mut classes: Vec<(String, usize)> = Vec::new();
        for c in cache::after_prompt(graph, 8192, PREFILL_STEP, 1, kv)? {
            match classes.iter_mut().find(|(name, _)| *name == c.class()) {
                Some((_, n)) => *n += 1,
                None => classes.push((c.class(), 1)),
            }
        }
        let step =
            traffic::decode_step(graph, STEP_CONTEXT, 1, REFERENCE_GPU, kv, SkippedLayers::NONE)?;
        // Some models process a prompt token by token; a few of their layers tell the arithmetic of all.
        let skipped = graph.skipped_for_counts()?;
        let call = Call { kv, skipped, ..Call::prefill(PREFILL_STEP) };
        let prefill = traffic::step(graph, &mut graph.make_cache(), call, REFERENCE_GPU)?;
        let run = Run::default().with_context(STEP_CONTEXT).with_kv(kv);
        let gguf = GgufWeights::of(subject);
        let peak = match &gguf {
            Some(_) => None,
            None => Some(peak::peak(graph, &run, REFERENCE_GPU)?),
        };
        let step = match &gguf {
            Some(gguf) => {
                let experts = graph.experts().map(|e| (e.chosen, e.total));
                Traffic { weight_bytes: gguf.bytes_per_step(experts), ..step }
            }
            None => step,
        };
        Ok(Self {
            peak,
            weights: gguf.as_ref().map_or_else(|| Weights::of(graph), |g| g.weights),
            cache: tokens.iter().map(|&n| Ok((n, after(n)?))).collect::<Result<_>>()?,
            kv,
            kv_per_token: slope,
            classes,
            step,
            flops_per_prefill_token: prefill.flops / f64::from(PREFILL_STEP),
            gguf,
        })
    }
}
