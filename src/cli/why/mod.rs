//! `mlxplan why`: what explains the gap between a measured speed and the prediction.

pub(super) mod answer;
pub(super) mod args;
mod measured;

use super::shared::context::Context;
use super::shared::exit::ExitStatus;
use super::shared::machine_args::MachineArgs;
use super::shared::opening::About;
use crate::audit::{self, AuditCase, Claim, Facts, Hardware, Known};
use crate::estimate::{Basis, Estimator, OpenedModel, Run, Speed};
use crate::hardware::machine::Machine;
use crate::report::Answer;
use crate::roofline::Coefficients;
use crate::run::FormatOrigin;
use crate::why::{GapCase, SeenSpeeds, StatedParts, explain};
use answer::{WhyAnswer, WhyParts};
use anyhow::{Result, anyhow, bail};
use args::WhyArgs;
use measured::MeasuredFigures;
use std::rc::Rc;

pub(super) fn run(context: &Context, args: &WhyArgs) -> Result<(Answer, ExitStatus)> {
    if args.run.args.evidence.is_some() {
        bail!(
            "--evidence: why compares with what specifications and published runs predict, not with own runs; leave it out"
        );
    }
    let figures = MeasuredFigures::of(context, args)?;
    let machine = machine(context, args, &figures)?;
    let (run, stated) = asked(args, &figures)?;
    if args.cached > 0 && args.cached >= run.work.context_tokens {
        bail!(
            "--cached {} is the whole prompt of {} tokens or more, and at least the last token of a prompt is read; give \
             the whole prompt with --context",
            args.cached,
            run.work.context_tokens
        );
    }
    let model = open(context, args, &figures, &run)?;
    let stated = StatedParts {
        format: matches!(model.origin, FormatOrigin::File | FormatOrigin::Name),
        ..stated
    };
    let (answer, speed, run) =
        explained(context, args, (&figures, stated), &machine, (&model, run))?;
    let known = Known { speed, graph: model.graph };
    let (findings, faster) = judge(args, &figures, &machine, known, &run);
    // What is slow is explained by the causes themselves.
    let findings = if answer.is_faster() { findings } else { Vec::new() };
    Ok((Answer::of(answer.audited(findings, faster)), ExitStatus::Ok))
}

/// The causes of the gap, what a step of the model does, and the run with the program that runs the file.
fn explained(
    context: &Context,
    args: &WhyArgs,
    (figures, stated): (&MeasuredFigures, StatedParts),
    machine: &Machine,
    (model, run): (&OpenedModel, Run),
) -> Result<(WhyAnswer, Speed, Run)> {
    let estimator = Estimator::new(Coefficients::embedded()?, model, run, Basis::Spec);
    let seen =
        SeenSpeeds { decode: figures.decode, ttft_s: figures.ttft_s, cached_tokens: args.cached };
    let named = named(model, machine, &run, args);
    let macs = &context.catalogs.macs;
    let case = GapCase::new(&estimator, (machine, macs), (stated, seen), &named).about(model)?;
    let (suspects, ranked) = explain(&case)?;
    let (quant, run) = (estimator.quant(), estimator.run());
    let parts = WhyParts { model, machine, quant, run, stated, seen };
    let answer = WhyAnswer::of(parts, (&case, &suspects, &ranked), &figures.from)?;
    Ok((answer, estimator.speed()?.clone(), *run))
}

/// The machine that was named, or that a result is of.
fn machine(context: &Context, args: &WhyArgs, figures: &MeasuredFigures) -> Result<Machine> {
    match &figures.mac {
        Some(mac) if args.machine.is_here() && args.machine.mac.is_none() => {
            context.machine(&MachineArgs { mac: Some(mac.clone()), ..MachineArgs::default() })
        }
        _ => context.machine(&args.machine),
    }
}

/// The run, and what of it was said or measured rather than left to defaults.
fn asked(args: &WhyArgs, figures: &MeasuredFigures) -> Result<(Run, StatedParts)> {
    let mut run_args = args.run.args.clone();
    run_args.engine.engine = run_args.engine.engine.or(figures.engine);
    let here = args.machine.is_here() && figures.program().is_none() && figures.mac.is_none();
    let mut run = run_args.run_on(here)?;
    let context = figures.context.filter(|_| !args.run.context);
    let generate = figures.generate.filter(|_| !args.run.generate);
    run = run.with_context(context.unwrap_or(run.work.context_tokens));
    run = run.with_generated(generate.unwrap_or(run.work.generate_tokens));
    let stated = StatedParts {
        context: args.run.context || context.is_some(),
        generate: args.run.generate || generate.is_some(),
        version: run_args.engine.engine.is_some_and(|e| e.version.is_some()),
        mlx: run_args.engine.mlx.is_some(),
        format: false,
    };
    Ok((run, stated))
}

fn open(
    context: &Context,
    args: &WhyArgs,
    figures: &MeasuredFigures,
    run: &Run,
) -> Result<OpenedModel> {
    let name = args.model.as_deref().or(figures.model.as_deref());
    let name =
        name.ok_or_else(|| anyhow!("the model that was measured is not known; --model names it"))?;
    let quant = args.quant.as_deref();
    let served = figures.quant.as_deref().filter(|_| args.model.is_none() && quant.is_none());
    let program = run.engine.program;
    let opened = |quant| context.one_model_for(program, name, quant, args.assume.as_deref());
    // Names of files say the format themselves.
    let model = match served {
        Some(format) => opened(Some(format)).or_else(|_| opened(None))?,
        None => opened(quant)?,
    };
    Ok(model.loaded_by(program)?)
}

/// The arguments of `predict` for a run.
fn named(model: &OpenedModel, machine: &Machine, run: &Run, args: &WhyArgs) -> String {
    let name = args.model.as_deref().unwrap_or(&model.id);
    let mut words = vec!["--model".to_owned(), name.to_owned()];
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    if let Some(quant) = &args.quant {
        add("--quant", quant.clone());
    }
    let MachineArgs { mac, bandwidth, gpu_cores, memory } = &args.machine;
    match (mac, bandwidth.zip(*gpu_cores).zip(*memory)) {
        (None, Some(((bandwidth, cores), memory))) => {
            add("--bandwidth", bandwidth.to_string());
            add("--gpu-cores", cores.to_string());
            add("--memory", memory.to_string());
        }
        (mac, _) => add("--mac", mac.as_ref().unwrap_or(&machine.id).clone()),
    }
    if let Some(model_type) = &args.assume {
        add("--assume", model_type.clone());
    }
    add("--context", run.work.context_tokens.to_string());
    if let Some(engine) = args.run.args.engine.engine {
        let version = engine.version.map(|v| format!("@{v}")).unwrap_or_default();
        add("--engine", format!("{}{version}", engine.program));
    }
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
}

/// What the auditor says of the figures as a claim, and whether they are faster than the bus allows.
fn judge(
    args: &WhyArgs,
    figures: &MeasuredFigures,
    machine: &Machine,
    known: Known,
    run: &Run,
) -> (Vec<audit::Finding>, bool) {
    let Some(rate) = figures.decode else { return (Vec::new(), false) };
    let machines: Vec<Hardware> = machine.possible_bins().iter().map(Hardware::of).collect();
    let work = run.work;
    let fastest = |h: &Hardware| {
        known.fastest_decode(h, work.context_tokens, work.generate_tokens, work.batch)
    };
    let bus = machines.iter().map(fastest).fold(0.0, f64::max);
    let claim = Claim {
        id: "measured".to_owned(),
        decode_tokens_per_s: Some(rate.into()),
        ttft_s: figures.ttft_s.map(Into::into),
        prompt_tokens: Some(work.context_tokens),
        generated_tokens: Some(work.generate_tokens),
        engine: Some(run.engine.program),
        batch: Some(work.batch),
        cached_prefix: args.cached > 0,
        ..Claim::default()
    };
    let facts = Facts { model: Ok(Rc::new(known)), machines: Ok(machines), catalog: Vec::new() };
    (audit::judge(&[AuditCase { claim, facts }]).findings, rate > bus)
}
