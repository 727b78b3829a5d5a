//! What comes nearest where no Mac meets the needs.

use crate::advise::nearest::{Near, NeedKind, Relaxed, Shortfall};
use crate::advise::offers::Offer;
use crate::cli::shared::words::usd;
use crate::hardware::machine::MachineSummary;
use crate::report::{Column, Document, Table};
use crate::units::{Bytes, Seconds, TokensPerSecond};
use schemars::JsonSchema;
use serde::Serialize;

/// A configuration that does not meet the needs.
#[derive(Serialize, JsonSchema)]
pub(super) struct NearKeys {
    /// What is sold.
    offer: Offer,
    /// The machine that it is.
    machine: MachineSummary,
    /// Decode rate of the slowest model for each user.
    tokens_per_s: f64,
    /// Seconds to the first token of the slowest model.
    ttft_s: f64,
    /// Needs that it fails, the worst first.
    shortfalls: Vec<Shortfall>,
}

impl From<&Near> for NearKeys {
    fn from(near: &Near) -> Self {
        Self {
            offer: near.offer.clone(),
            machine: near.machine.summary(),
            tokens_per_s: near.tok_s,
            ttft_s: near.ttft_s,
            shortfalls: near.shortfalls.clone(),
        }
    }
}

fn value(need: NeedKind, x: f64) -> String {
    match need {
        NeedKind::Memory => Bytes(x as u64).to_string(),
        NeedKind::TokS => format!("{} tok/s", TokensPerSecond(x)),
        NeedKind::Ttft => Seconds(x).to_string(),
        NeedKind::Budget => format!("{x:.0} USD"),
    }
}

fn lacks(s: &Shortfall) -> String {
    let what = match s.need {
        NeedKind::Memory => "memory",
        NeedKind::TokS => "tok/s",
        NeedKind::Ttft => "first token",
        NeedKind::Budget => "price",
    };
    let times =
        if s.times > 1.005 { format!(" ({:.2}x)", s.times) } else { ", not surely met".to_owned() };
    format!("{what} {} of {}{times}", value(s.need, s.expected), value(s.need, s.asked))
}

fn change(r: &Relaxed) -> String {
    let (to, from) = (value(r.need, r.to), value(r.need, r.from));
    let what = match r.need {
        NeedKind::Memory => format!("{to} of memory instead of {from}"),
        NeedKind::TokS => format!("at least {to} instead of {from}"),
        NeedKind::Ttft => format!("the first token within {to} instead of {from}"),
        NeedKind::Budget => format!("{to} instead of {from}"),
    };
    format!("{what}: {} with {} GB", r.mac, r.memory_gib)
}

/// Appends what comes nearest, and the smallest changes.
pub(super) fn add(d: &mut Document, nearest: &[NearKeys], changes: &[Relaxed]) {
    let text = match changes.split_first() {
        Some((first, [])) => format!("The smallest change with which one would: {}.", change(first)),
        Some((first, more)) => format!(
            "The smallest change with which one would: {}; or {}.",
            change(first),
            more.iter().map(change).collect::<Vec<_>>().join("; or ")
        ),
        None => "No change of a single need is enough: a smaller format or model, a shorter prompt, or several needs at \
                 once would have to change."
            .to_owned(),
    };
    d.text(text);
    if nearest.is_empty() {
        return;
    }
    let mut table = Table::new(vec![
        Column::text("nearest"),
        Column::number("GB"),
        Column::number("USD"),
        Column::text("what it lacks"),
    ]);
    for near in nearest {
        let lacking: Vec<String> = near.shortfalls.iter().map(lacks).collect();
        table.row([
            near.offer.mac.clone(),
            near.offer.memory_gib.to_string(),
            usd(near.offer.usd_now),
            lacking.join("; "),
        ]);
    }
    d.main_table(table);
}
