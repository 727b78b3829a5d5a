//! Tables that several commands show.

use crate::estimate::memory::{Advice, Change};
use crate::report::{Column, Table};

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
