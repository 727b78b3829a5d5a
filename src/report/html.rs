//! One HTML file with everything in it: no network, light and dark, printable, sortable tables, inline SVG.

use super::chart::Chart;
use std::fmt::Write as _;

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Title and first heading.
    pub title: String,
    /// What was asked, under the title.
    pub lead: String,
    /// The parts in reading order.
    pub parts: Vec<Part>,
}

/// A part of a page.
#[derive(Clone, Debug)]
pub enum Part {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Remarks.
    Notes(Vec<String>),
    /// A table that can be sorted by each column.
    Table(Sortable),
    /// A chart.
    Figure(Chart),
    /// A chart that is SVG already, with its description.
    Svg {
        /// The text of the SVG, as a plotting library wrote it.
        svg: String,
        /// What it shows.
        description: String,
    },
}

/// A table that can be sorted.
#[derive(Clone, Debug, Default)]
pub struct Sortable {
    /// What it shows.
    pub caption: String,
    /// Headings, with units.
    pub columns: Vec<String>,
    /// Cells, row by row.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell: its text, and the number that it is sorted by, if it is one.
#[derive(Clone, Debug)]
pub struct Cell {
    /// What is shown.
    pub text: String,
    /// What sorts it.
    pub key: Option<f64>,
    /// Whether it stands in a column of numbers.
    pub number: bool,
}

impl Cell {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), key: None, number: false }
    }

    /// A number, shown as `text`.
    #[must_use]
    pub fn number(text: impl Into<String>, key: f64) -> Self {
        Self { text: text.into(), key: Some(key), number: true }
    }

    /// A number that may not be known: `?`.
    #[must_use]
    pub fn known(value: Option<f64>, text: impl Fn(f64) -> String) -> Self {
        let text = value.map_or_else(|| "?".to_owned(), text);
        Self { text, key: value, number: true }
    }
}

/// Text in HTML, in content and in attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

impl Page {
    /// The file.
    ///
    /// # Errors
    /// When the plotting library fails; the text says how.
    pub fn render(&self) -> Result<String, String> {
        let mut body = String::new();
        for part in &self.parts {
            part.render(&mut body)?;
        }
        let (title, lead) = (escape(&self.title), escape(&self.lead));
        Ok(format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <header>\n<h1>{title}</h1>\n<p>{lead}</p>\n</header>\n<main>\n{body}</main>\n\
             <footer><p>Made by mlxplan {}.</p></footer>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
            env!("CARGO_PKG_VERSION")
        ))
    }
}

impl Part {
    fn render(&self, out: &mut String) -> Result<(), String> {
        // Writing to a string cannot fail.
        match self {
            Self::Heading(text) => _ = writeln!(out, "<h2>{}</h2>", escape(text)),
            Self::Text(text) => _ = writeln!(out, "<p>{}</p>", escape(text)),
            Self::Notes(notes) => {
                out.push_str("<ul class=\"notes\">\n");
                for note in notes {
                    _ = writeln!(out, "<li>{}</li>", escape(note));
                }
                out.push_str("</ul>\n");
            }
            Self::Table(table) => table.render(out),
            Self::Figure(chart) => {
                let description = format!("{}. {}", chart.title, chart.description);
                figure(out, &chart.inline_svg()?, &description);
            }
            Self::Svg { svg, description } => {
                let svg = svg.replace("\"#000000\"", "\"currentColor\"");
                let svg = svg.replace("fill=\"#FFFFFF\"", "fill=\"none\"");
                figure(out, &svg, description);
            }
        }
        Ok(())
    }
}

fn figure(out: &mut String, svg: &str, description: &str) {
    if svg.is_empty() {
        return;
    }
    let text = escape(description);
    _ = writeln!(
        out,
        "<figure>\n<div role=\"img\" aria-label=\"{text}\">\n{svg}</div>\n<figcaption>{text}</figcaption>\n</figure>"
    );
}

impl Sortable {
    fn render(&self, out: &mut String) {
        _ = writeln!(
            out,
            "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">",
            escape(&self.caption)
        );
        _ = writeln!(out, "<table>\n<caption>{}</caption>\n<thead><tr>", escape(&self.caption));
        for column in &self.columns {
            _ = writeln!(
                out,
                "<th scope=\"col\"><button type=\"button\">{}</button></th>",
                escape(column)
            );
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for row in &self.rows {
            out.push_str("<tr>");
            for cell in row {
                let class = if cell.number { " class=\"number\"" } else { "" };
                let key = cell.key.map(|k| format!(" data-key=\"{k}\"")).unwrap_or_default();
                _ = write!(out, "<td{class}{key}>{}</td>", escape(&cell.text));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody>\n</table>\n</div>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_names_are_they_stay_text() {
        let evil = "<img src=x onerror=alert(1)>\"'&";
        let page = Page {
            title: evil.to_owned(),
            lead: evil.to_owned(),
            parts: vec![
                Part::Heading(evil.to_owned()),
                Part::Text(evil.to_owned()),
                Part::Notes(vec![evil.to_owned()]),
                Part::Table(Sortable {
                    caption: evil.to_owned(),
                    columns: vec![evil.to_owned()],
                    rows: vec![vec![Cell::text(evil)]],
                }),
            ],
        };
        let html = page.render().expect("rendered");
        assert!(!html.contains("<img"), "{html}");
        assert_eq!(html.matches("&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;").count(), 10);
    }

    #[test]
    fn nothing_is_fetched() {
        let html = Page { title: "t".to_owned(), lead: String::new(), parts: Vec::new() }
            .render()
            .expect("rendered");
        for word in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!html.contains(word), "{word}");
        }
    }
}
