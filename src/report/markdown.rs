//! Markdown.

use super::{Align, Document, DocumentBlock, Table};

pub(super) fn render(document: &Document) -> String {
    let parts: Vec<String> = document.blocks.iter().map(block).collect();
    parts.join("\n\n") + "\n"
}

fn block(block: &DocumentBlock) -> String {
    match block {
        DocumentBlock::Heading(text) => format!("## {}", cell(text)),
        DocumentBlock::Text(text) => escape(text),
        DocumentBlock::Pairs(pairs) => {
            let line = |(n, v): &(String, String)| match n.as_str() {
                "" => format!("| | {} |", cell(v)),
                _ => format!("| **{}** | {} |", cell(n), cell(v)),
            };
            let lines: Vec<String> = pairs.iter().map(line).collect();
            format!("| | |\n| --- | --- |\n{}", lines.join("\n"))
        }
        DocumentBlock::Notes(notes) => {
            let lines: Vec<String> = notes.iter().map(|n| format!("- {}", escape(n))).collect();
            lines.join("\n")
        }
        DocumentBlock::Code(text) => code(text.trim_end()),
        DocumentBlock::Table(t) => table(t),
    }
}

fn table(table: &Table) -> String {
    let row = |cells: &mut dyn Iterator<Item = String>| {
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut lines = vec![
        row(&mut table.columns.iter().map(|c| cell(&c.title))),
        row(&mut table.columns.iter().map(|c| match c.align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        })),
    ];
    lines.extend(table.rows.iter().map(|r| row(&mut r.iter().map(|c| cell(c)))));
    lines.join("\n")
}

/// A block of code, between fences that it does not contain.
fn code(text: &str) -> String {
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}\n{text}\n{fence}")
}

/// A text whose own signs mean nothing: no links, images, HTML, emphasis, headings or quotations.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at_start = true;
    for c in text.chars() {
        match c {
            '\\' | '|' | '*' | '[' | ']' => out.extend(['\\', c]),
            '#' | '>' if at_start => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            _ => out.push(c),
        }
        at_start = c == '\n' || (at_start && c.is_whitespace());
    }
    out
}

/// A text on one line.
fn cell(text: &str) -> String {
    escape(text).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_are_only_texts() {
        assert_eq!(escape("![x](javascript:a)\n # b"), "!\\[x\\](javascript:a)\n \\# b");
        assert_eq!(escape("a # <b> c > d"), "a # &lt;b> c > d");
        assert_eq!(cell("a\n| b"), "a \\| b");
        assert_eq!(code("x\n```\ny"), "````\nx\n```\ny\n````");
    }
}
