//! Flags of every command.

use crate::data_dir;
use crate::report::Format;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// How the answer is written: table, json, csv, markdown or html (a page with charts); of check also junit
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table",
        hide_default_value = true
    )]
    pub format: Format,

    /// Short for --format json
    #[arg(long, global = true, conflicts_with = "format")]
    pub json: bool,

    /// Write the answer to a file instead of standard output
    #[arg(short, long, global = true, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// When to use color
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto, hide_default_value = true)]
    pub color: Color,

    /// No hints on standard error
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// More detail: where figures come from, on standard error and in the answers of probe and audit
    #[arg(short, long, global = true)]
    pub verbose: bool,

    /// Never use the network
    #[arg(long, global = true)]
    pub offline: bool,

    /// A stored calibration to use instead of the newest of this machine
    #[arg(long, global = true, value_name = "FILE")]
    pub profile: Option<PathBuf>,

    /// A folder with chips.toml, macs.toml, prices.toml or models.json that add to or override the built-in data
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = data_dir::VARIABLE,
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub data_dir: Option<PathBuf>,
}

/// When to use color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
