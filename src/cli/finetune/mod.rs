//! `mlxplan finetune`: memory and speed of LoRA, QLoRA, DoRA and full fine-tuning with `mlx_lm.lora`.

pub(super) mod answer;
pub(super) mod args;
mod choices;
mod command;
mod data;
mod macs;
mod run;
mod timed;

use super::shared::context::Context;
use super::shared::exit::ExitStatus;
use crate::advise::finetune::{changes, largest};
use crate::estimate::memory::Fit;
use crate::estimate::{Basis, Estimator, Fidelity, TrainingSpeed};
use crate::report::Answer;
use crate::roofline::Coefficients;
use crate::run::{Program, Run};
use answer::FinetuneAnswer;
use anyhow::{Result, bail, ensure};
use args::FinetuneArgs;
use run::FinetuneRun;

pub(super) fn run(context: &Context, args: &FinetuneArgs) -> Result<(Answer, ExitStatus)> {
    let mut wanted = FinetuneRun::of(args)?;
    let machine = context.machine(&args.machine);
    if !args.machine.is_here() {
        machine.as_ref().map_err(|e| anyhow::anyhow!("{e:#}"))?;
    }
    let run = setup(args)?;
    let model = context
        .one_model_for(run.engine.program, &wanted.model, args.quant.as_deref(), None)?
        .loaded_by(run.engine.program)?;
    let here = (machine.as_ref().ok(), args.machine.is_here());
    let kernels = context.kernels_for(&model, &run, here)?.map(Box::new);
    let basis = kernels.map_or(Basis::Spec, Basis::Kernels);
    let estimator = Estimator::new(Coefficients::embedded()?, &model, run, basis);
    if estimator.run().engine.program != Program::MlxLm {
        bail!(
            "mlx_lm.lora trains no GGUF files, and {} is {}: name the model in an MLX format, such as 4bit, or its original",
            wanted.model,
            estimator.quant()
        );
    }
    let data = data::measured(&mut wanted, &model.id)?;
    let timed = args.time_step.then(|| {
        ensure!(args.machine.is_here(), "--time-step times MLX on this machine; leave --mac out");
        timed::step(context, &model, &wanted.options, args.force)
    });
    let timed = timed.transpose()?;
    let machine = match machine {
        Ok(machine) => machine,
        Err(why) => {
            return macs::answer(context, (&wanted, data, timed), (&model, &estimator), &why);
        }
    };
    let options = &wanted.options;
    // Timings of another generation say nothing about this machine, which would otherwise be passed over in silence.
    estimator.by_kernels(Some(&machine), options)?;
    let mut found = match data.as_ref().and_then(|d| d.between) {
        Some(between) => estimator.fine_tuning_between(&machine, options, between)?,
        None => estimator.fine_tuning(&machine, options)?,
    };
    let changes = changes(&estimator, &model, &machine, options, &found);
    let largest = largest(&estimator, &machine, options)?;
    let status = match found.judgment.verdict {
        Fit::No => ExitStatus::No,
        Fit::Uncertain => ExitStatus::Uncertain,
        Fit::Yes | Fit::Tight => ExitStatus::Ok,
    };
    if let Some(data) = &data {
        found.speed = estimator.training_speed_of(&machine, options, &data.lengths)?;
    }
    if let Some(step) = &timed {
        let (tokens, lengths) =
            (found.speed.batch_tokens, data.as_ref().map_or(1, |d| d.lengths.len()));
        if lengths <= 1 {
            found.speed =
                TrainingSpeed::timed(step.timed, tokens, Fidelity::LayerTimed, step.text());
        }
    }
    let answer = FinetuneAnswer::of((&wanted, data), (&model, estimator.run()), &machine, &found)
        .with_advice(changes, largest)
        .with_timing(timed);
    Ok((Answer::of(answer), status))
}

/// The engine and the limits; only mlx-lm trains.
fn setup(args: &FinetuneArgs) -> Result<Run> {
    let engine = args.engine.setup(None, args.machine.is_here())?;
    if engine.program != Program::MlxLm {
        bail!("--engine {}: only mlx-lm fine-tunes (mlx_lm.lora)", engine.program);
    }
    args.limits.applied(Run::default().with_engine(engine))
}
