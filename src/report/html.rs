//! One HTML file with everything in it: no network, light and dark, printable, sortable tables, inline SVG.

use crate::chart::Chart;
use minijinja::{AutoEscape, Environment};
use serde::{Serialize, Serializer};
use thiserror::Error;

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Title and first heading.
    pub title: String,
    /// What was asked, under the title.
    pub lead: String,
    /// The parts in reading order.
    pub parts: Vec<PagePart>,
    /// The command that writes the same page; empty where there is none.
    pub command: String,
}

/// A part of a page.
#[derive(Clone, Debug)]
pub enum PagePart {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Remarks.
    Notes(Vec<String>),
    /// A table that can be sorted by each column.
    Table(Sortable),
    /// Names and values.
    Pairs(Vec<(String, String)>),
    /// Commands or file contents, as they are.
    Code(String),
    /// A chart.
    Figure(Chart),
}

/// A table that can be sorted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sortable {
    /// What it shows.
    pub caption: String,
    /// The columns.
    pub columns: Vec<PageColumn>,
    /// Cells, row by row.
    pub rows: Vec<Vec<PageCell>>,
}

/// A column of a table.
#[derive(Clone, Debug, Serialize)]
pub struct PageColumn {
    /// Heading, with the unit.
    pub title: String,
    /// Whether a click sorts by it: where texts or numbers of one unit stand.
    pub sortable: bool,
}

impl From<&str> for PageColumn {
    fn from(title: &str) -> Self {
        Self { title: title.to_owned(), sortable: true }
    }
}

/// A cell: its text, and the number that it is sorted by, if it is one.
#[derive(Clone, Debug, Serialize)]
pub struct PageCell {
    /// What is shown.
    pub text: String,
    /// What sorts it.
    #[serde(serialize_with = "as_text")]
    pub key: Option<f64>,
    /// Whether it stands in a column of numbers.
    pub number: bool,
}

impl PageCell {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), key: None, number: false }
    }

    /// A number, shown as `text`.
    #[must_use]
    pub fn number(text: impl Into<String>, key: f64) -> Self {
        Self::figure(&text.into(), Some(key))
    }

    /// A number that may not be known: `?`.
    #[must_use]
    pub fn known(value: Option<f64>, text: impl Fn(f64) -> String) -> Self {
        Self::figure(&value.map_or_else(|| "?".to_owned(), text), value)
    }

    /// A figure with its unit; where it is narrow, lines are broken only before the interval in brackets.
    #[must_use]
    pub fn figure(text: &str, key: Option<f64>) -> Self {
        let text = text.replace(' ', "\u{a0}").replace("\u{a0}(", " (");
        Self { text, key, number: true }
    }
}

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A page as the template takes it.
#[derive(Serialize)]
struct View<'a> {
    title: &'a str,
    lead: &'a str,
    parts: Vec<PartView<'a>>,
    command: &'a str,
    version: &'static str,
    style: &'static str,
    script: &'static str,
}

/// A part as the template takes it.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum PartView<'a> {
    Heading { text: &'a str },
    Text { text: &'a str },
    Notes { notes: &'a [String] },
    Table { table: &'a Sortable },
    Pairs { pairs: &'a [(String, String)] },
    Code { text: &'a str },
    Figure { svg: String, description: String },
}

/// Why a page cannot be made.
#[derive(Debug, Error)]
pub enum PageError {
    /// The plotting library fails.
    #[error("{0}")]
    Chart(String),
    /// The template fails.
    #[error("the page cannot be made: {0:#}")]
    Template(#[from] minijinja::Error),
}

impl Page {
    /// The file. Whatever the names in it are, they stay text.
    ///
    /// # Errors
    /// When a plot cannot be drawn.
    pub fn render(&self) -> Result<String, PageError> {
        let parts = self.parts.iter().filter_map(|part| part.view().transpose());
        let view = View {
            title: &self.title,
            lead: &self.lead,
            parts: parts.collect::<Result<_, _>>()?,
            command: &self.command,
            version: env!("CARGO_PKG_VERSION"),
            style: STYLE,
            script: SCRIPT,
        };
        let mut environment = Environment::empty();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.add_filter("safe", minijinja::filters::safe);
        environment.set_keep_trailing_newline(true);
        Ok(environment.render_str(TEMPLATE, view)?)
    }
}

impl PagePart {
    /// What the template takes; `None` for a plot with nothing in it.
    fn view(&self) -> Result<Option<PartView<'_>>, PageError> {
        Ok(match self {
            Self::Heading(text) => Some(PartView::Heading { text }),
            Self::Text(text) => Some(PartView::Text { text }),
            Self::Notes(notes) => Some(PartView::Notes { notes }),
            Self::Table(table) => Some(PartView::Table { table }),
            Self::Pairs(pairs) => Some(PartView::Pairs { pairs }),
            Self::Code(text) => Some(PartView::Code { text }),
            Self::Figure(chart) => {
                let svg = chart.inline_svg().map_err(PageError::Chart)?;
                let description = format!("{}. {}", chart.title, chart.description);
                (!svg.is_empty()).then_some(PartView::Figure { svg, description })
            }
        })
    }
}

/// The number by which a cell is sorted, as text: a whole one without a point.
fn as_text<S: Serializer>(key: &Option<f64>, s: S) -> Result<S::Ok, S::Error> {
    key.map(|k| k.to_string()).serialize(s)
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
            command: evil.to_owned(),
            parts: vec![
                PagePart::Heading(evil.to_owned()),
                PagePart::Text(evil.to_owned()),
                PagePart::Notes(vec![evil.to_owned()]),
                PagePart::Code(evil.to_owned()),
                PagePart::Pairs(vec![(evil.to_owned(), evil.to_owned())]),
                PagePart::Table(Sortable {
                    caption: evil.to_owned(),
                    columns: vec![evil.into()],
                    rows: vec![vec![PageCell::text(evil)]],
                }),
            ],
        };
        let html = page.render().expect("rendered");
        assert!(!html.contains("<img"), "{html}");
        assert_eq!(html.matches("&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;").count(), 14);
    }

    #[test]
    fn nothing_is_fetched() {
        let html = Page::default().render().expect("rendered");
        for word in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!html.contains(word), "{word}");
        }
    }
}
