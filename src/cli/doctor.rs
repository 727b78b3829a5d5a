//! `mlxplan doctor`: what a bug report needs.

use super::shared::context::Catalogs;
use super::shared::exit::ExitStatus;
use super::shared::tables::add_engines;
use super::shared::updates::{effects, running};
use crate::advise::engine_update::UpdateEffect;
use crate::bench::http::RunningServer;
use crate::data_dir;
use crate::engine::installed::{Installed, Places, find};
use crate::graph::families::FAMILIES;
use crate::hardware::catalog::AS_OF;
use crate::hardware::probe::{self, Readings};
use crate::report::{Answer, Document, Present};
use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

/// The object `mlxplan.doctor/1`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Doctor {
    /// Version of mlxplan.
    version: &'static str,
    /// Operating system.
    os: &'static str,
    /// Architecture of the processor.
    arch: &'static str,
    /// What this machine is.
    machine: String,
    /// Chip bins known.
    chips: usize,
    /// Macs known.
    macs: usize,
    /// Model types known.
    model_types: usize,
    /// State of the catalogs.
    as_of: &'static str,
    /// Where the user's data is looked for.
    config_dir: String,
    /// Folders with the user's data.
    data_dirs: Vec<String>,
    /// The programs that run models and are installed, found without starting them.
    engines: Vec<Installed>,
    /// The servers that answer on this machine; none where it is no Mac, or offline.
    running: Vec<RunningServer>,
    /// What updates of them would change here.
    updates: Vec<UpdateEffect>,
    /// What is wrong or unusual.
    problems: Vec<String>,
    /// What the operating system said.
    readings: Readings,
    /// The same as people are shown it.
    #[serde(skip)]
    readings_text: String,
}

pub(super) fn run(catalogs: &Catalogs, offline: bool) -> Result<(Answer, ExitStatus)> {
    let readings = probe::read();
    let mut problems = Vec::new();
    let chips = note(&mut problems, catalogs.macs.chips().map(<[_]>::len));
    let macs = note(&mut problems, catalogs.macs.macs().map(<[_]>::len));
    let engines = Places::here().map_or_else(|| Ok(Vec::new()), |p| find(&p))?;
    let mut updates = Vec::new();
    let machine = match probe::probe(&catalogs.macs) {
        Ok(p) => {
            updates = effects(catalogs, &p, &engines);
            problems.extend(p.notes.iter().cloned());
            p.chip.or(p.brand).unwrap_or_else(|| "unknown".to_owned())
        }
        Err(e) => {
            problems.push(e.to_string());
            "unreadable".to_owned()
        }
    };
    let answer = Doctor {
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        machine,
        chips,
        macs,
        model_types: FAMILIES.iter().map(|f| f.model_types.len()).sum(),
        as_of: AS_OF,
        config_dir: data_dir::config_dir().map_or("none".to_owned(), |p| p.display().to_string()),
        data_dirs: catalogs.data.dirs().iter().map(|d| d.display().to_string()).collect(),
        engines,
        running: running(offline),
        updates,
        problems,
        readings_text: serde_json::to_string_pretty(&readings)?,
        readings,
    };
    Ok((Answer::of(answer), ExitStatus::Ok))
}

impl Present for Doctor {
    const SCHEMA: &'static str = "mlxplan.doctor/1";

    fn document(&self) -> Document {
        let mut d = Document::default();
        let pair = |n: &str, v: String| (n.to_owned(), v);
        let Self { chips, macs, model_types, as_of, .. } = self;
        let dirs =
            if self.data_dirs.is_empty() { "none".into() } else { self.data_dirs.join(", ") };
        d.pairs(vec![
            pair("mlxplan", self.version.to_owned()),
            pair("target", format!("{} {}", self.os, self.arch)),
            pair("machine", self.machine.clone()),
            pair(
                "data",
                format!("{chips} chips, {macs} Macs, {model_types} model types, as of {as_of}"),
            ),
            pair("configuration folder", self.config_dir.clone()),
            pair("data folders in use", dirs),
        ]);
        add_engines(&mut d, (&self.engines, &self.running), &self.updates);
        d.notes(self.problems.clone());
        d.text("Raw readings (for a bug report; look through them before you publish them):");
        d.code(self.readings_text.clone());
        d
    }
}

fn note<E: std::fmt::Display>(problems: &mut Vec<String>, n: Result<usize, E>) -> usize {
    n.unwrap_or_else(|e| {
        problems.push(e.to_string());
        0
    })
}
