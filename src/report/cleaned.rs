//! Answers whose texts do nothing to a terminal.

use super::{Document, DocumentBlock, Table};
use crate::clean::clean;

/// A document in whose texts nothing acts.
pub(super) fn cleaned(document: &Document) -> Document {
    let text = |t: &String| clean(t).into_owned();
    let block = |block: &DocumentBlock| match block {
        DocumentBlock::Heading(t) => DocumentBlock::Heading(text(t)),
        DocumentBlock::Text(t) => DocumentBlock::Text(text(t)),
        DocumentBlock::Code(t) => DocumentBlock::Code(text(t)),
        DocumentBlock::Notes(notes) => DocumentBlock::Notes(notes.iter().map(text).collect()),
        DocumentBlock::Pairs(pairs) => {
            DocumentBlock::Pairs(pairs.iter().map(|(n, v)| (text(n), text(v))).collect())
        }
        DocumentBlock::Table(table) => DocumentBlock::Table(Table {
            rows: table.rows.iter().map(|row| row.iter().map(text).collect()).collect(),
            ..table.clone()
        }),
    };
    Document { blocks: document.blocks.iter().map(block).collect(), main: document.main }
}
