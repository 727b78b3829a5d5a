//! An answer as a page: its parts in their order, then its charts.

use super::html::PageColumn;
use super::{Align, Document, DocumentBlock, Page, PageCell, PagePart, Sortable, Table};
use crate::chart::Chart;

impl Page {
    /// The page of an answer. Its first heading is the title, the paragraph below it the lead.
    pub(super) fn of(document: &Document, charts: Vec<Chart>, command: &str) -> Self {
        let mut blocks = document.blocks.iter().peekable();
        let mut page = Self { command: command.to_owned(), ..Self::default() };
        if let Some(DocumentBlock::Heading(text)) = blocks.peek() {
            page.title.clone_from(text);
            blocks.next();
        }
        if let Some(DocumentBlock::Text(text)) = blocks.peek() {
            page.lead.clone_from(text);
            blocks.next();
        }
        page.parts.extend(blocks.map(part));
        page.parts.extend(charts.into_iter().map(PagePart::Figure));
        if page.title.is_empty() {
            "mlxplan".clone_into(&mut page.title);
        }
        page
    }
}

fn part(block: &DocumentBlock) -> PagePart {
    match block {
        DocumentBlock::Heading(text) => PagePart::Heading(text.clone()),
        DocumentBlock::Text(text) => PagePart::Text(text.clone()),
        DocumentBlock::Pairs(pairs) => PagePart::Pairs(pairs.clone()),
        DocumentBlock::Notes(notes) => PagePart::Notes(notes.clone()),
        DocumentBlock::Code(text) => PagePart::Code(text.clone()),
        DocumentBlock::Table(table) => PagePart::Table(sortable(table)),
    }
}

/// A table of texts: columns of numbers are sorted where all of them are plain numbers, which have one unit.
fn sortable(table: &Table) -> Sortable {
    let cells = |at: usize| table.rows.iter().filter_map(move |row| row.get(at));
    let numbers = |at: usize| cells(at).all(|text| number(text).is_some() || unknown(text));
    let column = |(at, column): (usize, &super::Column)| PageColumn {
        title: column.title.clone(),
        sortable: !column.title.is_empty() && (column.align == Align::Left || numbers(at)),
    };
    let columns: Vec<PageColumn> = table.columns.iter().enumerate().map(column).collect();
    let cell = |(text, column): (&String, &super::Column)| match column.align {
        Align::Left => PageCell::text(text.clone()),
        Align::Right => PageCell::figure(text, number(text)),
    };
    let rows = table.rows.iter().map(|row| row.iter().zip(&table.columns).map(cell).collect());
    Sortable { caption: String::new(), rows: rows.collect(), columns }
}

fn number(text: &str) -> Option<f64> {
    text.trim_end_matches(['%', ' ']).parse().ok().filter(|n: &f64| n.is_finite())
}

/// Whether a cell says that a number is not known.
fn unknown(text: &str) -> bool {
    matches!(text, "" | "?" | "-" | "–")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Column;

    #[test]
    fn an_answer_is_a_page() {
        let mut d = Document::default();
        d.heading("Fits");
        d.text("On a Mac.");
        d.pairs(vec![("peak".to_owned(), "3 GB".to_owned())]);
        let mut table =
            Table::new(vec![Column::text("Mac"), Column::number("tok/s"), Column::number("TTFT")]);
        table.row(["m4-10/16", "9.5", "850 ms"]);
        table.row(["m5-10/16", "?", "1.2 s"]);
        d.table(table);
        d.code("mlxplan macs");
        let page = Page::of(&d, Vec::new(), "mlxplan predict --format html");
        assert_eq!((&page.title[..], &page.lead[..], page.parts.len()), ("Fits", "On a Mac.", 3));
        let html = page.render().expect("rendered");
        for text in
            ["<title>Fits</title>", "<dt>peak</dt>", "data-key=\"9.5\"", "mlxplan macs</pre>"]
        {
            assert!(html.contains(text), "{text}: {html}");
        }
        // Milliseconds and seconds would be sorted wrongly.
        assert_eq!(html.matches("<button").count(), 2, "{html}");
        assert!(html.contains("mlxplan predict --format html"));
    }
}
