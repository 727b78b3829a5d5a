//! `mlxplan inspect`: exact sizes of a model and the traffic of a decode step.

pub(super) mod answer;
pub(super) mod args;
mod operations;

use super::shared::context::Context;
use super::shared::exit::ExitStatus;
use super::shared::run_args::kv_quantisation;
use crate::estimate::{GgufWeights, OpenedModel};
use crate::graph::cache::KvQuantisation;
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
    let subject = context.one_model(&args.model, quant, args.assume.as_deref())?;
    let subject = subject.loaded_by(program)?;
    let kv = kv_quantisation(args.kv_bits)?;
    let sizes = Sizes::of(&subject, &args.tokens, kv)?;
    let listed = || match &sizes.gguf {
        Some(gguf) => gguf.tensors.clone(),
        None => weights::tensors(&subject.graph),
    };
    let tensors = args.tensors.then(listed);
    let ops = args.ops.then(|| operations::of(&subject.graph)).transpose()?;
    Ok((Answer::of(InspectAnswer::of(&subject, program, sizes, tensors, ops)), ExitStatus::Ok))
}

struct Sizes {
    weights: Weights,
    /// Tokens and the bytes of the cache after them.
    cache: Vec<(u32, u64)>,
    kv_per_token: f64,
    classes: Vec<(String, usize)>,
    step: Traffic,
    flops_per_prefill_token: f64,
    /// Of mlx-lm; `None` for a GGUF file.
    peak: Option<Peak>,
    gguf: Option<GgufWeights>,
}

impl Sizes {
    fn of(subject: &OpenedModel, tokens: &[u32], kv: Option<KvQuantisation>) -> Result<Self> {
        let graph = &subject.graph;
        let after = |n: u32| -> Result<u64> {
            let caches = cache::after_prompt(graph, n, PREFILL_STEP, 1, kv)?;
            Ok(cache::bytes(&caches))
        };
        let slope = (after(8192)? as f64 - after(4096)? as f64) / 4096.0;
        let mut classes: Vec<(String, usize)> = Vec::new();
        for c in cache::after_prompt(graph, 8192, PREFILL_STEP, 1, kv)? {
            match classes.iter_mut().find(|(name, _)| *name == c.class()) {
                Some((_, n)) => *n += 1,
                None => classes.push((c.class(), 1)),
            }
        }
        let step =
            traffic::decode_step(graph, STEP_CONTEXT, 1, REFERENCE_GPU, kv, SkippedLayers::NONE)?;
        let call = Call { kv, ..Call::prefill(PREFILL_STEP) };
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
            kv_per_token: slope,
            classes,
            step,
            flops_per_prefill_token: prefill.flops / f64::from(PREFILL_STEP),
            gguf,
        })
    }
}
