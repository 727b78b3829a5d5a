//! The answer away from a Mac: which Macs do it, with their prices.

use super::answer::FinetuneAnswer;
use super::choices::TrainingMacAnswer;
use super::data::MeasuredData;
use super::run::FinetuneRun;
use super::timed::TimedStep;
use crate::advise::finetune::macs_for_training;
use crate::cli::shared::context::Context;
use crate::cli::shared::exit::ExitStatus;
use crate::estimate::{Estimator, OpenedModel};
use crate::report::Answer;
use anyhow::{Result, bail};

/// Macs listed at most.
const MACS: usize = 12;

/// What the run needs, and the cheapest Macs that do it.
pub(super) fn answer(
    context: &Context,
    (wanted, data, timed): (&FinetuneRun, Option<MeasuredData>, Option<TimedStep>),
    (model, estimator): (&OpenedModel, &Estimator<'_>),
    why: &anyhow::Error,
) -> Result<(Answer, ExitStatus)> {
    let macs = macs_for_training(&context.catalogs.macs, estimator, &wanted.options)?;
    let Some(first) = macs.first() else {
        bail!(
            "{why:#}; and no Mac on sale has the memory for this run: try --grad-checkpoint, --batch-size 1 or a \
             quantized base"
        );
    };
    let listed = macs.iter().take(MACS).map(|mac| TrainingMacAnswer::of(mac, wanted.fill));
    let of = (model, estimator.run());
    let answer = FinetuneAnswer::of((wanted, data), of, &first.machine, &first.estimate)
        .on_macs(why.to_string(), listed.collect())
        .with_timing(timed);
    Ok((Answer::of(answer), ExitStatus::Ok))
}
