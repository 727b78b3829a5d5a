//! `mlxplan compare --vary checkpoint|layers|batch`: one choice of a fine-tuning run varied, answered in words.

use super::args::CompareArgs;
use super::engines::{VariantRow, Variants};
use super::trained::TrainedVariant;
use crate::advise::finetune::{TrainingChoice, VariedRun, varied};
use crate::cli::shared::context::Context;
use crate::cli::shared::exit::ExitStatus;
use crate::cli::shared::training_args::LoraSettings;
use crate::cli::shared::training_keys::TrainingRequest;
use crate::cli::shared::words::engine_text;
use crate::engine::lora::config::LoraConfig;
use crate::estimate::memory::Fit;
use crate::estimate::{Basis, EngineAnswer, Estimator, ModelAnswer, RunKeys};
use crate::hardware::machine::Machine;
use crate::report::Answer;
use crate::roofline::Coefficients;
use crate::run::{Program, Run};
use crate::units::Bytes;
use anyhow::{Result, bail};

pub(super) fn run(
    context: &Context,
    args: &CompareArgs,
    run: Run,
    choice: TrainingChoice,
) -> Result<(Answer, ExitStatus)> {
    let ([name], [mac]) = (&args.model[..], &args.mac[..]) else {
        bail!("--vary compares one --model on one --mac");
    };
    if run.engine.program != Program::MlxLm {
        bail!("--engine {}: only mlx-lm fine-tunes (mlx_lm.lora)", run.engine.program);
    }
    let machine = super::mac(context, mac)?;
    let model = context.one_model_for(run.engine.program, name, args.quant.as_deref(), None)?;
    let model = model.loaded_by(run.engine.program)?;
    let estimator = Estimator::new(Coefficients::embedded()?, &model, run, Basis::Spec);
    let run = *estimator.run();
    if run.engine.program != Program::MlxLm {
        bail!("mlx_lm.lora trains no GGUF files: name the model in an MLX format, such as 4bit");
    }
    let told = LoraSettings::of(Some(&args.training), &LoraConfig::default());
    let fill = args.training.fill.unwrap_or(1.0);
    let found = varied(&estimator, &machine, &told.options, choice);
    let rows: Vec<VariantRow> =
        found.into_iter().map(|one| row(one, fill, (&run, &machine))).collect();
    let mut notes = vec![
        "tok/s: tokens in the loss per second; a larger batch takes as long for each sample where the GPU is busy".to_owned(),
    ];
    if args.training.longest.is_none() {
        notes.push(format!(
            "the data is not known: every batch is taken to be as long as --max-seq-length allows, {} tokens (--longest \
             says how long the longest sample is)",
            told.options.tokens
        ));
    }
    let fits = |fit: Fit| rows.iter().any(|r| r.fits == Some(fit));
    let status = if fits(Fit::Yes) || fits(Fit::Tight) {
        ExitStatus::Ok
    } else if fits(Fit::Uncertain) {
        ExitStatus::Uncertain
    } else {
        ExitStatus::No
    };
    let variants = Variants {
        varied: match choice {
            TrainingChoice::Checkpoint => "checkpoint",
            TrainingChoice::Layers => "layers",
            TrainingChoice::Batch => "batch",
        },
        answer: answer(choice, &rows),
        model: ModelAnswer::from(&model),
        machine: machine.summary(),
        request: RunKeys::of(&run),
        training: Some(TrainingRequest::of(&told.options, told.max_seq_length, told.iters)),
        rows,
        notes,
    };
    Ok((Answer::of(variants), status))
}

fn row(one: VariedRun, fill: f64, (run, machine): (&Run, &Machine)) -> VariantRow {
    let (found, reason) = match one.found {
        Ok(found) => (Some(found), None),
        Err(e) => (None, Some(e.to_string())),
    };
    let found = found.as_ref();
    let speed = found.map(|f| f.speed.tokens_per_s());
    VariantRow {
        name: one.name,
        engine: EngineAnswer::of(run, Some(machine)),
        reason,
        fits: found.map(|f| f.judgment.verdict),
        peak_bytes: found.map(|f| f.ledger.peak_bytes),
        peak_interval_90_bytes: found.map(|f| f.peak_interval_90),
        max_context_tokens: None,
        max_context_at_most_tokens: None,
        tokens_per_s: speed.map(|(rate, ..)| fill * rate),
        interval_90: speed.map(|(_, _, ends)| ends.map(|end| fill * end)),
        ttft_s: None,
        published_loss: None,
        training: found.map(|f| TrainedVariant::of(f, one.run.batch)),
        bound: None,
        line: engine_text(run, Some(machine)),
    }
}

fn fits(row: &VariantRow) -> bool {
    row.fits.is_some_and(|fit| fit <= Fit::Tight)
}

/// What the variation comes to.
fn answer(choice: TrainingChoice, rows: &[VariantRow]) -> Vec<String> {
    let text = match choice {
        TrainingChoice::Checkpoint => checkpointing(rows),
        TrainingChoice::Layers => most_layers(rows),
        TrainingChoice::Batch => best_batch(rows),
    };
    text.into_iter().collect()
}

/// Whether checkpointing is worth its time.
fn checkpointing(rows: &[VariantRow]) -> Option<String> {
    let [off, on] = rows else { return None };
    let (less, times) = (
        off.peak_bytes?.saturating_sub(on.peak_bytes?),
        on.training.as_ref()?.seconds_per_sample / off.training.as_ref()?.seconds_per_sample,
    );
    let verdict = match (fits(off), fits(on)) {
        (true, _) if less == 0 => "no: it saves nothing here",
        (true, _) => "not needed: the run fits without it",
        (false, true) => "yes: with it the run fits",
        (false, false) => "not enough by itself: the run does not surely fit with it either",
    };
    Some(format!(
        "Is --grad-checkpoint worth it? {verdict}. It takes {} less at the peak and {times:.2} times as long.",
        Bytes(less)
    ))
}

/// The most blocks that fit.
fn most_layers(rows: &[VariantRow]) -> Option<String> {
    let Some(most) = rows.iter().rev().find(|r| fits(r)) else {
        let least = rows.first()?;
        return Some(format!("No number of layers surely fits; even {} may not.", least.name));
    };
    let (first, last) = (rows.first()?, rows.last()?);
    Some(format!(
        "As many as {} layers surely fit. From {} to {} the peak grows from {} to {}, and an iteration takes {:.2} times as long.",
        most.name,
        first.name,
        last.name,
        Bytes(first.peak_bytes?),
        Bytes(last.peak_bytes?),
        last.training.as_ref()?.seconds_per_iteration
            / first.training.as_ref()?.seconds_per_iteration,
    ))
}

/// The batch to take.
fn best_batch(rows: &[VariantRow]) -> Option<String> {
    let Some(most) = rows.iter().rev().find(|r| fits(r)) else {
        let least = rows.first()?;
        return Some(format!(
            "No batch surely fits, not even one of {}: try --grad-checkpoint, or shorter samples.",
            least.name
        ));
    };
    let one = rows.first()?;
    let faster = most.tokens_per_s? / one.tokens_per_s?;
    Some(format!(
        "The largest batch of these that surely fits is {}: {faster:.2} times the tokens per second of a batch of {}, for {} more at \
         the peak. --grad-accumulation-steps makes the same update of smaller batches without that memory.",
        most.name,
        one.name,
        Bytes(most.peak_bytes?.saturating_sub(one.peak_bytes?)),
    ))
}
