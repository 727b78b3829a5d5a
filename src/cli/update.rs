//! `mlxplan update`: popular repositories of the hub into the data folder.

use super::shared::context::Context;
use super::shared::exit::ExitStatus;
use super::shared::progress::Progress;
use crate::cli::shared::numbers::whole;
use crate::data_dir::config_dir;
use crate::model::catalog::{PassedOver, Refreshed, refresh};
use crate::report::{Answer, Column, Document, Present, Table};
use anyhow::{Result, bail};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

/// Arguments of `update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Most downloaded repositories that are looked at
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = |s: &str| whole::<u32>(s, 1..=2000))]
    pub limit: u32,
}

pub(super) fn run(context: &Context, args: &UpdateArgs) -> Result<(Answer, ExitStatus)> {
    let sources = context.sources(None)?;
    if sources.hub.offline {
        bail!(
            "update reads the hub, but this is an offline run: leave out --offline (or HF_HUB_OFFLINE)"
        );
    }
    let folder = context.catalogs.data.dirs().first().cloned().or_else(config_dir);
    let Some(folder) = folder else {
        bail!("there is no data folder to write: name one with --data-dir");
    };
    let limit = args.limit as usize;
    let bar = Progress::steps(context.printer.quiet, "reading repositories", limit as u64);
    let told = |done: usize, all: usize| bar.set(done as u64, all as u64);
    let done = refresh(&folder, limit, (sources.catalog, &sources.hub), &told)?;
    drop(bar);
    Ok((Answer::of(UpdateAnswer::of(done)), ExitStatus::Ok))
}

/// The object `mlxplan.update/1`: what an update read.
#[derive(Serialize, JsonSchema)]
pub(super) struct UpdateAnswer {
    /// The catalog that was written.
    file: String,
    /// Repositories that were looked at.
    considered: usize,
    /// Models in the catalog that was written.
    added: usize,
    /// Repositories that were known already.
    known: usize,
    /// Those that were passed over.
    passed_over: Vec<PassedOverKeys>,
    /// Whether it went on from an update that was not finished.
    resumed: bool,
}

/// A repository that was passed over.
#[derive(Serialize, JsonSchema)]
struct PassedOverKeys {
    /// Its name.
    id: String,
    /// Why.
    reason: String,
}

impl UpdateAnswer {
    fn of(done: Refreshed) -> Self {
        let keys = |p: PassedOver| PassedOverKeys { id: p.id, reason: p.reason };
        Self {
            file: done.file.display().to_string(),
            considered: done.considered,
            added: done.added,
            known: done.known,
            passed_over: done.passed_over.into_iter().map(keys).collect(),
            resumed: done.resumed,
        }
    }
}

impl Present for UpdateAnswer {
    const SCHEMA: &'static str = "mlxplan.update/1";

    fn document(&self) -> Document {
        let mut table = Table::new(vec![Column::text("passed over"), Column::text("why")]);
        for p in &self.passed_over {
            table.row([&p.id, &p.reason]);
        }
        let mut d = Document::default();
        if !self.passed_over.is_empty() {
            d.table(table);
        }
        let how = if self.resumed { ", going on from an update that was not finished" } else { "" };
        d.notes(vec![
            format!(
                "{} repositories were looked at{how}: {} models added, {} known already, {} passed over",
                self.considered,
                self.added,
                self.known,
                self.passed_over.len()
            ),
            format!("written: {}; every command reads it from there", self.file),
        ]);
        d
    }
}
