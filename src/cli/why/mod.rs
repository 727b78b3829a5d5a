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
use crate::why::{GapCase, Observed, Stated, explain};
use answer::{WhyAnswer, WhyParts};
use anyhow::{Result, anyhow};
use args::WhyArgs;
use measured::Figures;
use std::rc::Rc;

pub(super) fn run(context: &Context, args: &WhyArgs) -> Result<(Answer, ExitStatus)> {
    let figures = Figures::of(context, args)?;
    let machine = machine(context, args, &figures)?;
    let (run, stated) = asked(args, &figures)?;
    let model = open(context, args, &figures, &run)?;
    let stated = Stated {
        format: matches!(model.origin, FormatOrigin::File | FormatOrigin::Name),
        ..stated
    };
    let estimator = Estimator::new(Coefficients::embedded()?, &model, run, Basis::Spec);
    let seen =
        Observed { decode: figures.decode, ttft_s: figures.ttft_s, cached_tokens: args.cached };
    let named = named(&model, &machine, &run, args);
    let macs = &context.catalogues.macs;
    let case = GapCase::new(&estimator, (&machine, macs), (stated, seen), &named).about(&model)?;
    let (suspects, ranked) = explain(&case)?;
    let audit = judge(context, args, &figures, &machine, &case, estimator.run())?;
    let parts = WhyParts {
        model: &model,
        machine: &machine,
        quant: estimator.quant(),
        run: estimator.run(),
        stated,
        seen,
        audit,
    };
    let answer = WhyAnswer::of(parts, (&case, &suspects, &ranked), &figures.from)?;
    Ok((Answer::of(answer), ExitStatus::Ok))
}

/// The machine that was named, or that a result is of.
fn machine(context: &Context, args: &WhyArgs, figures: &Figures) -> Result<Machine> {
    match &figures.mac {
        Some(mac) if args.machine.is_here() && args.machine.mac.is_none() => {
            context.machine(&MachineArgs { mac: Some(mac.clone()), ..MachineArgs::default() })
        }
        _ => context.machine(&args.machine),
    }
}

/// The run, and what of it was said or measured rather than left to defaults.
fn asked(args: &WhyArgs, figures: &Figures) -> Result<(Run, Stated)> {
    let mut run_args = args.run.args.clone();
    run_args.engine.engine = run_args.engine.engine.or(figures.engine);
    let here = args.machine.is_here() && figures.program().is_none() && figures.mac.is_none();
    let mut run = run_args.run_on(here)?;
    let context = figures.context.filter(|_| !args.run.context);
    let generate = figures.generate.filter(|_| !args.run.generate);
    run = run.with_context(context.unwrap_or(run.work.context_tokens));
    run = run.with_generated(generate.unwrap_or(run.work.generate_tokens));
    let stated = Stated {
        context: args.run.context || context.is_some(),
        generate: args.run.generate || generate.is_some(),
        version: run_args.engine.engine.is_some_and(|e| e.version.is_some()),
        mlx: run_args.engine.mlx.is_some(),
        format: false,
    };
    Ok((run, stated))
}

fn open(context: &Context, args: &WhyArgs, figures: &Figures, run: &Run) -> Result<OpenedModel> {
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
    add("--mac", machine.id.clone());
    add("--context", run.work.context_tokens.to_string());
    if let Some(engine) = args.run.args.engine.engine {
        let version = engine.version.map(|v| format!("@{v}")).unwrap_or_default();
        add("--engine", format!("{}{version}", engine.program));
    }
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
}

/// What the auditor says of the figures as a claim, and whether they are faster than the bus allows.
fn judge(
    context: &Context,
    args: &WhyArgs,
    figures: &Figures,
    machine: &Machine,
    case: &GapCase<'_>,
    run: &Run,
) -> Result<(Vec<audit::Finding>, bool)> {
    let Some(rate) = figures.decode else { return Ok((Vec::new(), false)) };
    let model = open(context, args, figures, run)?;
    let known = Known { speed: Speed::of(&model.graph, run)?, graph: model.graph };
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
    let facts = Facts { model: Ok(Rc::new(known)), machines: Ok(machines), catalogue: Vec::new() };
    let judged = audit::judge(&[AuditCase { claim, facts }]);
    // What is slow is explained by the causes themselves.
    let fast = case.decode.tokens_per_s < rate || figures.ttft_s.is_some_and(|t| t < case.ttft_s);
    let findings = if fast { judged.findings } else { Vec::new() };
    Ok((findings, rate > bus))
}
