//! Markdown.

use super::{Align, Block, Document, Table};

pub(super) fn render(document: &Document) -> String {
    let parts: Vec<String> = document.blocks.iter().map(block).collect();
    parts.join("\n\n") + "\n"
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading(text) => format!("## {text}"),
        Block::Text(text) => escape(text),
        Block::Pairs(pairs) => {
            let line = |(n, v): &(String, String)| match n.as_str() {
                "" => format!("| | {} |", escape(v)),
                _ => format!("| **{}** | {} |", escape(n), escape(v)),
            };
            let lines: Vec<String> = pairs.iter().map(line).collect();
            format!("| | |\n| --- | --- |\n{}", lines.join("\n"))
        }
        Block::Notes(notes) => {
            let lines: Vec<String> = notes.iter().map(|n| format!("- {}", escape(n))).collect();
            lines.join("\n")
        }
        Block::Code(text) => format!("```\n{}\n```", text.trim_end()),
        Block::Table(t) => table(t),
    }
}

fn table(table: &Table) -> String {
    let row = |cells: &mut dyn Iterator<Item = String>| {
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut lines = vec![
        row(&mut table.columns.iter().map(|c| escape(&c.title))),
        row(&mut table.columns.iter().map(|c| match c.align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        })),
    ];
    lines.extend(table.rows.iter().map(|r| row(&mut r.iter().map(|c| escape(c)))));
    lines.join("\n")
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*")
}
