//! Presentation: a command's answer as a [`Document`] for people, or as JSON, CSV and Markdown for programs.
//!
//! Nothing here calculates; everything shown comes in as text or as serialisable values.

mod bars;
mod chart;
mod cleaned;
mod csv;
mod document;
mod html;
mod junit;
mod labels;
mod markdown;
mod plot;
mod raster;
mod terminal;

pub use chart::{Axis, Chart, Corner, Mark, Shape};
pub use document::{Align, Bars, Block, Column, Document, Table};
pub use html::{Cell, Page, Part, Sortable, escape};
pub use plot::{Scatter, Series};
pub use raster::png;
pub use terminal::{Style, width};

use serde_json::Value;
use std::str::FromStr;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Tables and text for a terminal.
    #[default]
    Table,
    /// One JSON object.
    Json,
    /// The main table as comma-separated values.
    Csv,
    /// Markdown with tables.
    Markdown,
    /// JUnit XML, of checks only.
    Junit,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "markdown" | "md" => Ok(Self::Markdown),
            "junit" => Ok(Self::Junit),
            other => {
                Err(format!("unknown format '{other}'; known: table, json, csv, markdown, junit"))
            }
        }
    }
}

/// What a command answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The answer as an object with a `schema` key.
    pub json: Value,
    /// The answer as text and tables.
    pub document: Document,
}

impl Answer {
    /// The answer in one of the formats, with a line break at the end.
    #[must_use]
    pub fn render(&self, format: Format, style: Style) -> String {
        match format {
            Format::Table => terminal::render(&self.document, style),
            Format::Json => format!("{:#}\n", self.json),
            Format::Csv => csv::render(&self.document),
            Format::Markdown => markdown::render(&self.document),
            Format::Junit => junit::render(&self.json).unwrap_or_default(),
        }
    }
}
