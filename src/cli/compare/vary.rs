//! `mlxplan compare --vary`: one choice of a run varied, everything else as asked.

use super::Asked;
use super::args::{CompareArgs, Vary};
use super::engines::{Asking, answer, through};
use crate::advise::recommend::LADDER;
use crate::cli::recommend;
use crate::cli::recommend::args::RecommendArgs;
use crate::cli::shared::context::Context;
use crate::cli::shared::draft_args::DraftArgs;
use crate::cli::shared::exit::ExitStatus;
use crate::cli::shared::machine_args::MachineArgs;
use crate::cli::shared::run_args::StatedRun;
use crate::estimate::{OpenedModel, Sources};
use crate::graph::cache::KvQuantization;
use crate::model::{DType, Scheme};
use crate::report::Answer;
use crate::run::{EngineName, Program, Run};
use anyhow::{Result, bail};
use std::sync::Arc;

/// Bits of a cache that are tried.
const KV_BITS: [u32; 2] = [8, 4];
/// Chunk with which the attention of MLX over a quantized cache stays small.
const SMALL_CHUNK: u32 = 256;
/// Chunks that are tried, in tokens.
const CHUNKS: [u32; 6] = [256, 512, 1024, 2048, 4096, 8192];
/// Formats of files for llama.cpp that are tried.
const FILES: [&str; 4] = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"];
/// Programs that are tried.
const PROGRAMS: [Program; 5] =
    [Program::MlxLm, Program::MlxServer, Program::LmStudio, Program::Omlx, Program::LlamaCpp];

pub(super) fn run(
    context: &Context,
    args: &CompareArgs,
    asked: &Asked,
    what: Vary,
) -> Result<(Answer, ExitStatus)> {
    let ([name], [mac]) = (&args.model[..], &args.mac[..]) else {
        bail!("--vary compares one --model on one --mac");
    };
    let run = asked.run;
    match what {
        Vary::Engine => {
            let engines = PROGRAMS.map(|program| EngineName { program, version: None });
            through(context, args, asked, &engines)
        }
        Vary::Draft => {
            let drafts = DraftArgs { draft: Some("auto".to_owned()), ..DraftArgs::default() };
            let machine = MachineArgs { mac: Some(mac.clone()), ..MachineArgs::default() };
            let wanted = RecommendArgs {
                model: Some(name.clone()),
                quant: args.quant.clone(),
                run: StatedRun { args: args.run.clone(), ..StatedRun::default() },
                drafts,
                machine,
                ..RecommendArgs::default()
            };
            recommend::run(context, &wanted)
        }
        Vary::Kv => answer(context, args, "kv", of_runs(context, args, name, caches(run))?),
        Vary::Chunk if run.engine.program.runs_gguf() => bail!(
            "--vary chunk: {} reads prompts in batches of its own; the choice is one of programs on MLX",
            run.engine.program
        ),
        Vary::Chunk => {
            let chunks = CHUNKS.map(|n| (n.to_string(), run.with_prefill_step(n)));
            answer(context, args, "chunk", of_runs(context, args, name, chunks.to_vec())?)
        }
        Vary::Checkpoint | Vary::Layers | Vary::Batch => {
            bail!("--vary checkpoint, layers and batch are of fine-tuning")
        }
        Vary::Quant => answer(context, args, "quant", formats(context, args, name, asked)?),
    }
}

/// The runs with each cache.
fn caches(run: Run) -> Vec<(String, Run)> {
    let gguf = run.engine.program.runs_gguf();
    let mut all = vec![(if gguf { "f16" } else { "16 bit" }.to_owned(), run.with_kv(None))];
    for bits in KV_BITS {
        let quantized = run.with_kv(Some(KvQuantization::bits(bits)));
        if gguf {
            all.push((format!("q{bits}_0"), quantized));
            continue;
        }
        all.push((format!("{bits} bit"), quantized));
        if run.engine.prefill_step > SMALL_CHUNK {
            let small = quantized.with_prefill_step(SMALL_CHUNK);
            all.push((format!("{bits} bit, chunks of {SMALL_CHUNK}"), small));
        }
    }
    all
}

/// One model in several runs by one program.
fn of_runs(
    context: &Context,
    args: &CompareArgs,
    name: &str,
    runs: Vec<(String, Run)>,
) -> Result<Vec<Asking>> {
    let Some(program) = runs.first().map(|(_, run)| run.engine.program) else {
        return Ok(Vec::new());
    };
    let model = context.one_model_for(program, name, args.quant.as_deref(), None)?;
    let model = model.loaded_by(program).map(Arc::new).map_err(|e| e.to_string());
    let case = |(shown, run)| Asking { shown, run, model: model.clone() };
    Ok(runs.into_iter().map(case).collect())
}

/// One model in several formats.
fn formats(
    context: &Context,
    args: &CompareArgs,
    name: &str,
    asked: &Asked,
) -> Result<Vec<Asking>> {
    let run = asked.run;
    let program = run.engine.program;
    if program.runs_gguf() {
        let file = |kind: &str| {
            let model = context.one_model_for(program, name, Some(kind), None);
            let model = model.map(Arc::new).map_err(|e| e.to_string());
            Asking { shown: kind.to_owned(), run, model }
        };
        return Ok(FILES.into_iter().map(file).collect());
    }
    let subject = context.one_model_for(program, name, args.quant.as_deref(), None)?;
    let sources = Sources { program, ..context.sources(None)? };
    let all = std::iter::once(Scheme::Float(DType::BF16)).chain(LADDER);
    let case = |scheme: Scheme| {
        let model = OpenedModel::from_source(subject.source.clone(), Some(scheme), &sources);
        let model =
            model.and_then(|m| m.loaded_by(program)).map(Arc::new).map_err(|e| e.to_string());
        Asking { shown: scheme.suffix(), run, model }
    };
    Ok(all.map(case).collect())
}
