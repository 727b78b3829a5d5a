//! The answer away from a Mac: which Macs do it, with their prices.

use super::answer::FinetuneAnswer;
use super::args::FinetuneArgs;
use crate::advise::finetune::{TrainingMac, macs_for_training};
use crate::cli::shared::context::Context;
use crate::cli::shared::exit::ExitStatus;
use crate::cli::shared::words::{rates, usd};
use crate::estimate::memory::Fit;
use crate::estimate::{Estimator, OpenedModel};
use crate::hardware::machine::MachineSummary;
use crate::report::{Answer, Column, Table};
use crate::units::{Bytes, TokensPerSecond};
use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Serialize;

/// Macs listed at most.
const MACS: usize = 12;

/// A Mac on which the run fits.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TrainingMacAnswer {
    /// Product id.
    mac: String,
    /// The machine.
    machine: MachineSummary,
    /// List price in USD, where known.
    usd_now: Option<u32>,
    /// Whether it fits.
    fits: Fit,
    /// Most active memory.
    peak_bytes: Bytes,
    /// Tokens per second.
    tokens_per_s: f64,
    /// Where they will be nine times out of ten.
    interval_90: [f64; 2],
}

impl From<&TrainingMac> for TrainingMacAnswer {
    fn from(m: &TrainingMac) -> Self {
        let (tokens_per_s, _, interval_90) = m.estimate.speed.tokens_per_s();
        Self {
            mac: m.mac.clone(),
            machine: m.machine.summary(),
            usd_now: m.usd_now,
            fits: m.estimate.judgement.verdict,
            peak_bytes: Bytes(m.estimate.ledger.peak_bytes),
            tokens_per_s,
            interval_90,
        }
    }
}

/// What the run needs, and the cheapest Macs that do it.
pub(super) fn answer(
    context: &Context,
    args: &FinetuneArgs,
    (model, estimator): (&OpenedModel, &Estimator<'_>),
    why: &anyhow::Error,
) -> Result<(Answer, ExitStatus)> {
    let options = args.options();
    let macs = macs_for_training(&context.catalogues.macs, estimator, &options)?;
    let Some(first) = macs.first() else {
        bail!(
            "{why:#}; and no Mac on sale has the memory for this run: try --grad-checkpoint, --batch-size 1 or a \
             quantized base"
        );
    };
    let answer =
        FinetuneAnswer::of(args, (model, estimator.run()), &first.machine, &first.estimate)
            .on_macs(why.to_string(), macs.iter().take(MACS).map(Into::into).collect());
    Ok((Answer::of(answer), ExitStatus::Ok))
}

pub(super) fn table(macs: &[TrainingMacAnswer]) -> Table {
    let mut table = Table::new(vec![
        Column::text("Mac"),
        Column::text("chip").droppable(3),
        Column::number("memory"),
        Column::number("USD"),
        Column::text("fits"),
        Column::number("tok/s"),
        Column::number("90 %").droppable(1),
    ]);
    for m in macs {
        table.row([
            m.mac.clone(),
            m.machine.chip.clone().unwrap_or_default(),
            format!("{:.0} GB", m.machine.memory_gib),
            usd(m.usd_now),
            m.fits.to_string(),
            TokensPerSecond(m.tokens_per_s).to_string(),
            rates(m.interval_90),
        ]);
    }
    table
}
