//! Comma-separated values: the main part of a document, which is one table.

use super::{Document, DocumentBlock};
use crate::clean::no_formula;

pub(super) fn render(document: &Document) -> String {
    match document.main() {
        Some(DocumentBlock::Table(t)) => {
            let header: Vec<&str> = t.columns.iter().map(|c| c.title.as_str()).collect();
            let rows = t.rows.iter().map(|r| r.iter().map(String::as_str).collect());
            write(std::iter::once(header).chain(rows))
        }
        Some(DocumentBlock::Pairs(pairs)) => {
            let rows = pairs.iter().map(|(name, value)| vec![name.as_str(), value.as_str()]);
            write(std::iter::once(vec!["name", "value"]).chain(rows))
        }
        _ => String::new(),
    }
}

fn write<'a>(rows: impl Iterator<Item = Vec<&'a str>>) -> String {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for row in rows {
        let cells = row.iter().map(|cell| no_formula(cell).into_owned());
        // Writing to memory cannot fail.
        let _ = writer.write_record(cells.collect::<Vec<_>>());
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
