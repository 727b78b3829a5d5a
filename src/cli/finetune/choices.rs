//! Macs on which a run fits.

use crate::advise::finetune::TrainingMac;
use crate::cli::shared::tables::{mac_cells, mac_columns};
use crate::estimate::memory::Fit;
use crate::hardware::machine::MachineSummary;
use crate::report::Table;
use crate::units::Bytes;
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

impl TrainingMacAnswer {
    /// A Mac, where `fill` of the tokens of a batch count.
    pub(super) fn of(m: &TrainingMac, fill: f64) -> Self {
        let (tokens_per_s, _, interval_90) = m.estimate.speed.tokens_per_s();
        Self {
            mac: m.mac.clone(),
            machine: m.machine.summary(),
            usd_now: m.usd_now,
            fits: m.estimate.judgment.verdict,
            peak_bytes: Bytes(m.estimate.ledger.peak_bytes),
            tokens_per_s: fill * tokens_per_s,
            interval_90: interval_90.map(|rate| fill * rate),
        }
    }
}

/// The Macs as a table.
pub(super) fn table(macs: &[TrainingMacAnswer]) -> Table {
    let mut table = Table::new(mac_columns());
    for m in macs {
        let rate = (m.tokens_per_s, m.interval_90);
        table.row(mac_cells((&m.mac, &m.machine), m.usd_now, m.fits, rate));
    }
    table
}
