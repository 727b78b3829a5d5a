//! Tables that several commands show.

use crate::engine::installed::Installed;
use crate::estimate::memory::{Advice, Change};
use crate::report::{Column, Table};
use crate::run::Version;

/// Changes as a table.
pub(in crate::cli) fn changes_table(changes: &[Advice]) -> Table {
    let mut table = Table::new(vec![
        Column::text("change"),
        Column::number("gains"),
        Column::number("max context"),
        Column::text("fits"),
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
        ]);
    }
    table
}

/// The programs that are installed.
pub(in crate::cli) fn engines_table(all: &[Installed]) -> Table {
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
