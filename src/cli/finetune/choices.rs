//! Macs on which a run fits.

use crate::advise::finetune::TrainingMac;
use crate::cli::shared::words::{rates, usd};
use crate::estimate::memory::Fit;
use crate::hardware::machine::MachineSummary;
use crate::report::{Column, Table};
use crate::units::{Bytes, TokensPerSecond};
use schemars::JsonSchema;
use serde::Serialize;

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
