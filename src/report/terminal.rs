//! Text for a terminal: wrapped to its width, readable without color.

use super::{Align, Document, DocumentBlock, Table};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Width, presets};

/// Width and color of the output.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Columns available.
    pub width: u16,
    /// Whether ANSI styles are written.
    pub color: bool,
    /// Whether the terminal shows nothing but ASCII.
    pub ascii: bool,
}

/// Columns of the terminal, 80 when it is not known, at least 40.
#[must_use]
pub fn width() -> u16 {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let known = columns.or_else(|| terminal_size::terminal_size().map(|(w, _)| w.0));
    known.unwrap_or(80).clamp(40, 200)
}

pub(super) fn render(document: &Document, style: Style) -> String {
    let mut out = String::new();
    for (i, block) in document.blocks.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        out.push_str(&render_block(block, style));
    }
    if style.ascii { out.chars().map(plain).collect() } else { out }
}

/// What stands for a sign on a terminal that shows nothing but ASCII; names and texts of others stay as they are.
const fn plain(c: char) -> char {
    match c {
        '─' | '–' | '−' => '-',
        '×' => 'x',
        '…' => '~',
        c => c,
    }
}

fn render_block(block: &DocumentBlock, style: Style) -> String {
    match block {
        DocumentBlock::Heading(text) => {
            wrap(text, style.width, "  ").lines().map(|l| format!("{}\n", bold(l, style))).collect()
        }
        DocumentBlock::Text(text) => wrap(text, style.width, ""),
        DocumentBlock::Pairs(pairs) => render_pairs(pairs, style),
        DocumentBlock::Notes(notes) => {
            notes.iter().map(|n| format!("- {}", &wrap(n, style.width - 2, "  ")[..])).collect()
        }
        DocumentBlock::Code(text) => text.lines().map(|l| code(l, style.width)).collect(),
        DocumentBlock::Table(table) => render_table(table, style),
    }
}

fn bold(text: &str, style: Style) -> String {
    if !style.color {
        return text.to_owned();
    }
    let bold = anstyle::Style::new().bold();
    format!("{bold}{text}{bold:#}")
}

fn render_pairs(pairs: &[(String, String)], style: Style) -> String {
    let name_width = pairs.iter().map(|(n, _)| n.chars().count()).max().unwrap_or(0);
    let indent = " ".repeat(name_width + 2);
    let room = style.width.saturating_sub(name_width as u16 + 2).max(12);
    let mut out = String::new();
    for (name, value) in pairs {
        let longest = value.split(' ').map(|w| w.chars().count()).max().unwrap_or(0);
        if style.width < 60 && longest > usize::from(room) {
            let value = wrap(value, style.width - 2, "  ");
            out.push_str(&format!("{}\n  {value}", bold(name, style)));
            continue;
        }
        let pad = " ".repeat(name_width - name.chars().count() + 2);
        out.push_str(&format!("{}{pad}{}", bold(name, style), wrap(value, room, &indent)));
    }
    out
}

/// Breaks text at spaces; continued lines start with `indent`, which does not count to the width.
fn wrap(text: &str, width: u16, indent: &str) -> String {
    let options = textwrap::Options::new(usize::from(width.max(10)))
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    textwrap::wrap(text, options).join(&format!("\n{indent}")) + "\n"
}

/// A line of code, broken wherever the terminal ends: nothing of it is lost, and nothing else is broken by it.
fn code(line: &str, width: u16) -> String {
    let options = textwrap::Options::new(usize::from(width.max(20)))
        .initial_indent("    ")
        .subsequent_indent("      ")
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    if line.chars().count() + 4 <= usize::from(width) {
        return format!("    {line}\n");
    }
    textwrap::fill(line, options) + "\n"
}

fn render_table(table: &Table, style: Style) -> String {
    let mut kept: Vec<usize> = (0..table.columns.len()).collect();
    let mut bars = table.bars.as_ref();
    loop {
        let text = lay_out(table, &kept, style);
        let droppable =
            kept.iter().copied().max_by_key(|&i| (table.columns[i].droppable, i)).unwrap_or(0);
        let rank = table.columns.get(droppable).map_or(0, |c| c.droppable);
        let widest = text.lines().map(|l| l.chars().count()).max().unwrap_or(0);
        let fits = widest <= usize::from(style.width) && !wraps(table, &kept, &text);
        let room = usize::from(style.width).saturating_sub(widest + 2);
        match bars {
            Some(b) if fits && room >= super::bars::LEAST => {
                let text = beside(&text, widest, &super::bars::draw(b, room, style.ascii));
                return embolden_header(&text, style);
            }
            Some(b) if b.droppable >= rank => bars = None,
            None if fits => return embolden_header(&text, style),
            None if rank == 0 && widest > usize::from(style.width) => return stacked(table, style),
            None if rank == 0 => return embolden_header(&text, style),
            _ => kept.retain(|&i| i != droppable),
        }
    }
}

/// Puts a text beside each row of a table that is `widest` columns wide.
fn beside(text: &str, widest: usize, bars: &[String]) -> String {
    let first = text.lines().count().saturating_sub(bars.len());
    let line = |(i, line): (usize, &str)| match i.checked_sub(first).and_then(|i| bars.get(i)) {
        Some(bar) if !bar.is_empty() => {
            format!("{line}{}{bar}\n", " ".repeat(widest + 2 - line.chars().count()))
        }
        _ => format!("{line}\n"),
    };
    text.lines().enumerate().map(line).collect()
}

/// Whether rows had to be broken into several lines.
fn wraps(table: &Table, kept: &[usize], text: &str) -> bool {
    let header = kept.iter().map(|&i| table.columns[i].title.lines().count()).max().unwrap_or(1);
    text.lines().count() > table.rows.len() + header + 1
}

fn lay_out(table: &Table, kept: &[usize], style: Style) -> String {
    let mut t = comfy_table::Table::new();
    let rule = LineStyle::none().fill('─').junction(' ');
    t.load_style(presets::NOTHING.header_separator(rule))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(style.width)
        .set_header(kept.iter().map(|&i| table.columns[i].title.clone()).collect::<Vec<_>>());
    for row in &table.rows {
        let cell = |&i: &usize| row.get(i).cloned().unwrap_or_default();
        t.add_row(kept.iter().map(cell).collect::<Vec<_>>());
    }
    for (position, &i) in kept.iter().enumerate() {
        let Some(column) = t.column_mut(position) else { continue };
        let first = position == 0;
        column.set_padding((if first { 0 } else { 1 }, 1));
        if table.columns[i].align == Align::Right {
            column.set_cell_alignment(CellAlignment::Right);
            let widest =
                table.rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max();
            let least = widest.unwrap_or(0) as u16 + if first { 1 } else { 2 };
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
    }
    let text = t.to_string();
    text.lines().map(|l| format!("{}\n", l.trim_end())).collect()
}

/// A table that no terminal of this width holds: every row as its first cell and a line for each of the others.
fn stacked(table: &Table, style: Style) -> String {
    let mut out = String::new();
    for row in &table.rows {
        let mut cells = table.columns.iter().zip(row);
        if let Some((_, name)) = cells.next() {
            let name = wrap(name, style.width, "  ");
            name.lines().for_each(|l| out.push_str(&format!("{}\n", bold(l, style))));
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (column, cell) in cells.filter(|(_, cell)| !cell.is_empty()) {
            let title = column.title.replace('\n', " ");
            match pairs.last_mut() {
                Some((_, last)) if title.is_empty() => last.push_str(&format!(", {cell}")),
                _ => pairs.push((format!("  {title}"), cell.clone())),
            }
        }
        let plain = Style { color: false, ..style };
        out.push_str(&render_pairs(&pairs, plain));
    }
    out
}

fn embolden_header(text: &str, style: Style) -> String {
    if !style.color {
        return text.to_owned();
    }
    let mut header = true;
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with('─') {
            header = false;
        }
        out.push_str(&if header { bold(line, style) } else { line.to_owned() });
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Column, Table};
    use super::*;

    const PLAIN: Style = Style { width: 44, color: false, ascii: false };

    fn table() -> Table {
        let mut t = Table::new(vec![
            Column::text("model"),
            Column::number("tok/s"),
            Column::text("licence").droppable(1),
        ]);
        t.row(["Qwen/Qwen3-32B", "24.6", "apache-2.0"]);
        t.row(["mistralai/Ministral-8B-Instruct", "104", "mrl"]);
        t
    }

    #[test]
    fn a_narrow_terminal_drops_columns_instead_of_breaking_rows() {
        let text = render_table(&table(), PLAIN);
        assert!(!text.contains("licence"), "{text}");
        assert!(text.lines().all(|l| l.chars().count() <= 44), "{text}");
        let wide = render_table(&table(), Style { width: 80, ..PLAIN });
        assert!(wide.contains("licence"), "{wide}");
    }

    #[test]
    fn bars_stand_beside_the_rows_where_there_is_room() {
        let mut table = table();
        table.bars(vec![Some(24.6), Some(104.0)], 0);
        let text = render_table(&table, Style { width: 54, ..PLAIN });
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].ends_with("24.6   ██▉"), "{text}");
        assert!(lines[3].ends_with("104   ████████████"), "{text}");
        assert!(!text.contains("licence"), "{text}");
        assert!(lines.iter().all(|l| l.chars().count() <= 54), "{text}");
        let ascii = render_table(&table, Style { width: 54, ascii: true, ..PLAIN });
        assert!(ascii.contains("############") && !ascii.contains('█'), "{ascii}");
        // A column that ranks lower stays instead.
        table.bars(vec![Some(24.6), Some(104.0)], 2);
        let text = render_table(&table, Style { width: 60, ..PLAIN });
        assert!(text.contains("licence") && !text.contains('█'), "{text}");
        assert!(!render_table(&table, PLAIN).contains('█'));
    }

    #[test]
    fn a_terminal_without_more_than_ascii_gets_ascii() {
        let mut document = Document::default();
        document.text("3–4 × 2 …");
        let text = render(&document, Style { ascii: true, ..PLAIN });
        assert_eq!(text, "3-4 x 2 ~\n");
    }

    #[test]
    fn a_table_too_wide_for_the_terminal_is_stacked() {
        let titles = ["format", "tokens a second", "first token after", "memory", ""];
        let mut t = Table::new(titles.map(Column::number).to_vec());
        t.row(["4bit-g64", "1234.5 tok/s", "12345.6 seconds", "123456789 B", "0.1 GB"]);
        let text = render_table(&t, Style { width: 40, ..PLAIN });
        assert!(text.lines().all(|l| l.chars().count() <= 40), "{text}");
        for cell in ["4bit-g64\n", "tokens a second    1234.5 tok/s", "123456789 B, 0.1 GB"] {
            assert!(text.contains(cell), "{cell:?}: {text}");
        }
    }

    #[test]
    fn long_lines_of_code_are_broken_and_whole() {
        let line = format!("\"cpuinfo\": \"{}\"", "processor\\t: 0".repeat(200));
        let mut document = Document::default();
        document.code(line.clone());
        let text = render(&document, Style { width: 40, ..PLAIN });
        assert!(text.lines().all(|l| l.chars().count() <= 40), "{text}");
        let squeezed = |s: &str| s.split_whitespace().collect::<String>();
        assert_eq!(squeezed(&text), squeezed(&line));
        assert_eq!(code("short", 40), "    short\n");
    }

    #[test]
    fn text_wraps_with_its_indent() {
        assert_eq!(wrap("one two three four", 10, "  "), "one two\n  three four\n");
        assert_eq!(wrap("unbreakableverylongword x", 10, ""), "unbreakableverylongword\nx\n");
    }
}
