//! Comma-separated values: the tables of a document, or its pairs when it has none.

use super::{Block, Document};

pub(super) fn render(document: &Document) -> String {
    let tables: Vec<&super::Table> = document
        .blocks
        .iter()
        .filter_map(|b| match b {
            Block::Table(t) => Some(t),
            _ => None,
        })
        .collect();
    let mut parts = Vec::new();
    for table in &tables {
        let header = table.columns.iter().map(|c| c.title.as_str());
        let rows = table.rows.iter().map(|r| r.iter().map(String::as_str).collect());
        parts.push(write(std::iter::once(header.collect::<Vec<_>>()).chain(rows)));
    }
    if tables.is_empty() {
        let pairs = document.blocks.iter().filter_map(|b| match b {
            Block::Pairs(p) => Some(p),
            _ => None,
        });
        let rows = pairs.flatten().map(|(name, value)| vec![name.as_str(), value.as_str()]);
        parts.push(write(std::iter::once(vec!["name", "value"]).chain(rows)));
    }
    parts.join("\n")
}

fn write<'a>(rows: impl Iterator<Item = Vec<&'a str>>) -> String {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for row in rows {
        // Writing to memory cannot fail.
        let _ = writer.write_record(row);
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
