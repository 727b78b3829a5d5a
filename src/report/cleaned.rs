//! Answers whose texts do nothing to a terminal.

use super::{Block, Document, Table};
use crate::clean::clean;

/// A document in whose texts nothing acts.
pub(super) fn cleaned(document: &Document) -> Document {
    let text = |t: &String| clean(t).into_owned();
    let block = |block: &Block| match block {
        Block::Heading(t) => Block::Heading(text(t)),
        Block::Text(t) => Block::Text(text(t)),
        Block::Code(t) => Block::Code(text(t)),
        Block::Notes(notes) => Block::Notes(notes.iter().map(text).collect()),
        Block::Pairs(pairs) => {
            Block::Pairs(pairs.iter().map(|(n, v)| (text(n), text(v))).collect())
        }
        Block::Table(table) => Block::Table(Table {
            rows: table.rows.iter().map(|row| row.iter().map(text).collect()).collect(),
            ..table.clone()
        }),
    };
    Document { blocks: document.blocks.iter().map(block).collect(), main: document.main }
}
