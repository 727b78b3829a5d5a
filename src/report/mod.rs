//! Presentation: a command's answer, a value that can [`Present`] itself, as text or a page for people and as JSON, CSV,
//! Markdown and JUnit for programs.
//!
//! Nothing here calculates; everything shown comes in as text or as serializable values.

mod bars;
mod cleaned;
mod csv;
mod document;
mod document_page;
mod html;
mod markdown;
mod present;
#[cfg_attr(not(feature = "png"), path = "no_raster.rs")]
mod raster;
mod terminal;

pub use document::{Align, Column, Document, DocumentBlock, Table};
pub use html::{Page, PageCell, PageColumn, PageError, PagePart, Sortable};
pub use present::{Answer, Present, Tagged, schema_of};
pub use raster::png;
pub use terminal::{Style, width};

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
    /// One HTML file with the answer and its charts.
    Html,
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
            "html" => Ok(Self::Html),
            "junit" => Ok(Self::Junit),
            other => Err(format!(
                "unknown format '{other}'; known: table, json, csv, markdown, html, junit"
            )),
        }
    }
}
