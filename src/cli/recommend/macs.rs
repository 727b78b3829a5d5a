//! Macs that run a model.

use crate::advise::MacChoice;
use crate::cli::shared::tables::{mac_cells, mac_columns};
use crate::estimate::memory::Fit;
use crate::hardware::machine::MachineSummary;
use crate::report::{Column, Table};
use crate::units::Seconds;
use schemars::JsonSchema;
use serde::Serialize;

pub(super) fn macs_table(macs: &[MacAnswer]) -> Table {
    let mut columns = mac_columns();
    columns.push(Column::number("TTFT").droppable(2));
    let mut table = Table::new(columns);
    for m in macs {
        let rate = (m.decode.tokens_per_s, m.decode.interval_90);
        let cells = mac_cells((&m.mac, &m.machine), m.usd_now, m.fits, rate);
        table.row(cells.into_iter().chain([Seconds(m.prefill.ttft_s).to_string()]));
    }
    table
}

/// A Mac that runs a model.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MacAnswer {
    mac: String,
    machine: MachineSummary,
    usd_now: Option<u32>,
    usd_launch: Option<u32>,
    fits: Fit,
    peak_bytes: u64,
    decode: DecodeRate,
    prefill: PrefillRate,
}

#[derive(Debug, Serialize, JsonSchema)]
struct DecodeRate {
    tokens_per_s: f64,
    interval_80: [f64; 2],
    interval_90: [f64; 2],
}

#[derive(Debug, Serialize, JsonSchema)]
struct PrefillRate {
    tokens_per_s: f64,
    ttft_s: f64,
}

impl From<&MacChoice> for MacAnswer {
    fn from(m: &MacChoice) -> Self {
        Self {
            mac: m.mac.clone(),
            machine: m.machine.summary(),
            usd_now: m.usd_now,
            usd_launch: m.usd_launch,
            fits: m.memory.judgment.verdict,
            peak_bytes: m.memory.peak.peak_bytes,
            decode: DecodeRate {
                tokens_per_s: m.decode.tokens_per_s,
                interval_80: m.decode.interval_80,
                interval_90: m.decode.interval_90,
            },
            prefill: PrefillRate { tokens_per_s: m.prefill.tokens_per_s, ttft_s: m.prefill.ttft_s },
        }
    }
}
