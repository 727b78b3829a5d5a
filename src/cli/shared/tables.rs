//! Tables that several commands show.

use super::words::{rates, usd};
use crate::advise::engine_update::UpdateEffect;
use crate::bench::http::RunningServer;
use crate::engine::installed::Installed;
use crate::estimate::memory::{Advice, Change, Fit};
use crate::hardware::machine::MachineSummary;
use crate::model::quality::LossBasis;
use crate::report::{Column, Document, Table};
use crate::run::Version;
use crate::units::TokensPerSecond;

/// Changes as a table.
pub(in crate::cli) fn changes_table(changes: &[Advice]) -> Table {
    let mut table = Table::new(vec![
        Column::text("change"),
        Column::number("gains"),
        Column::number("max context"),
        Column::text("fits"),
        Column::number("loses"),
    ]);
    for c in changes {
        let what = match &c.what {
            Change::WiredLimit(w) => w.command.clone(),
            other => other.text(),
        };
        table.row([
            what,
            c.gains_bytes.to_string(),
            c.max_context_tokens.to_string(),
            c.fits.to_string(),
            match c.loss.basis {
                LossBasis::Original => "nothing".to_owned(),
                _ => c.loss.cell(),
            },
        ]);
    }
    table
}

/// Adds the programs that are installed and the servers that run, and what is out of date.
pub(in crate::cli) fn add_engines(
    d: &mut Document,
    (installed, running): (&[Installed], &[RunningServer]),
    updates: &[UpdateEffect],
) {
    if !installed.is_empty() {
        d.table(engines_table(installed));
    }
    if !running.is_empty() {
        d.table(servers_table(running));
    }
    d.notes(installed.iter().filter_map(Installed::update).collect());
    d.notes(running.iter().filter_map(RunningServer::update).collect());
    d.notes(updates.iter().map(UpdateEffect::text).collect());
}

/// The programs that are installed.
fn engines_table(all: &[Installed]) -> Table {
    let mut table = Table::new(vec![
        Column::text("engine"),
        Column::text("version"),
        Column::text("MLX"),
        Column::text("place").droppable(1),
    ]);
    let or = |version: Option<Version>| version.map_or_else(|| "?".to_owned(), |v| v.to_string());
    for one in all {
        let mlx = if one.program.runs_gguf() { "–".to_owned() } else { or(one.mlx) };
        let place = one.place.display().to_string();
        table.row([one.program.to_string(), or(one.version), mlx, place]);
    }
    table
}

/// A table of the servers that run on this machine.
fn servers_table(all: &[RunningServer]) -> Table {
    let mut table = Table::new(vec![
        Column::text("running"),
        Column::text("version"),
        Column::text("model").droppable(1),
        Column::number("context"),
        Column::text("address"),
    ]);
    for one in all {
        let program = one.program.map_or_else(|| "?".to_owned(), |p| p.to_string());
        let version = one.version.clone().unwrap_or_else(|| "?".to_owned());
        let context = one.context_tokens.map_or_else(String::new, |n| n.to_string());
        table.row([program, version, one.models.join(", "), context, one.address.clone()]);
    }
    table
}

/// Columns of Macs that run something: which, its price, whether it fits, and how fast it is.
pub(in crate::cli) fn mac_columns() -> Vec<Column> {
    vec![
        Column::text("Mac"),
        Column::text("chip").droppable(3),
        Column::number("memory"),
        Column::number("USD"),
        Column::text("fits"),
        Column::number("tok/s"),
        Column::number("90 %").droppable(1),
    ]
}

/// The cells of a Mac in [`mac_columns`]: product id, machine, price, verdict, tokens per second and their interval.
pub(in crate::cli) fn mac_cells(
    (mac, machine): (&str, &MachineSummary),
    usd_now: Option<u32>,
    fits: Fit,
    (tokens_per_s, interval_90): (f64, [f64; 2]),
) -> [String; 7] {
    [
        mac.to_owned(),
        machine.chip.clone().unwrap_or_default(),
        format!("{:.0} GB", machine.memory_gib),
        usd(usd_now),
        fits.to_string(),
        TokensPerSecond(tokens_per_s).to_string(),
        rates(interval_90),
    ]
}
