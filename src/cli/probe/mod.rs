//! `mlxplan probe`: this machine, or one whose readings were recorded.

mod measure;

use super::shared::context::Context;
use super::shared::exit::ExitStatus;
use super::shared::tables::add_engines;
use super::shared::updates::{effects, running};
use crate::advise::engine_update::UpdateEffect;
use crate::bench::http::RunningServer;
use crate::engine::installed::{Installed, Places, find};
use crate::files;
use crate::hardware::probe::{self, Probe};
use crate::report::{Answer, Column, Document, Present, Table};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use measure::MeasuredProduct;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

/// Arguments of `probe`.
#[derive(Debug, Default, Args)]
pub struct ProbeArgs {
    /// Show where each value comes from
    #[arg(long)]
    pub explain: bool,

    /// Multiply matrices with MLX for a second: the rate of arithmetic, and whether it uses the matrix units
    #[arg(long, conflicts_with = "from")]
    pub measure: bool,

    /// Interpret the recorded output of sysctl, ioreg, system_profiler, pmset or mx.device_info in a file ("-" for
    /// standard input) instead of reading this machine
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

/// Longest recording that is read, bytes.
const MAX_RECORDING: u64 = 64 << 20;

pub(super) fn run(context: &Context, args: &ProbeArgs) -> Result<(Answer, ExitStatus)> {
    let probe = match &args.from {
        None => probe::probe(&context.catalogs.macs)?,
        Some(path) => {
            let bytes = recording(path)?;
            let readings = probe::dump::parse(&String::from_utf8_lossy(&bytes));
            probe::interpret(&readings, &context.catalogs.macs)
                .with_context(|| path.display().to_string())?
        }
    };
    let fields = fields(&probe)?;
    let explain = args.explain || context.printer.verbose;
    let places = Places::here().filter(|_| args.from.is_none());
    let engines = places.map_or_else(|| Ok(Vec::new()), |p| find(&p))?;
    let updates = effects(&context.catalogs, &probe, &engines);
    let fields = explain.then_some(fields);
    let running = if args.from.is_some() { Vec::new() } else { running(context.offline) };
    let measured = if args.measure { Some(measure::product(&probe)?) } else { None };
    let answer = ProbeAnswer { probe, engines, running, updates, measured, fields };
    Ok((Answer::of(answer), ExitStatus::Ok))
}

/// A recording from a file, or from standard input for `-`.
fn recording(path: &Path) -> Result<Vec<u8>> {
    if path.as_os_str() != "-" {
        return files::bytes(path, MAX_RECORDING)
            .with_context(|| format!("cannot read {}", path.display()));
    }
    let mut bytes = Vec::new();
    let input = std::io::stdin().take(MAX_RECORDING + 1);
    { input }.read_to_end(&mut bytes).context("cannot read the recording")?;
    ensure!(bytes.len() as u64 <= MAX_RECORDING, "the recording is longer than 64 MiB");
    Ok(bytes)
}

/// The object `mlxplan.probe/1`.
#[derive(Serialize, JsonSchema)]
pub(super) struct ProbeAnswer {
    #[serde(flatten)]
    probe: Probe,
    /// The programs that run models and are installed, found without starting them; none of a recorded machine.
    engines: Vec<Installed>,
    /// The servers that answer on this machine; none where it is no Mac, or offline.
    running: Vec<RunningServer>,
    /// What updates of them would change here.
    updates: Vec<UpdateEffect>,
    /// A second of arithmetic, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<MeasuredProduct>,
    /// Every field with its value and source, where they are asked for.
    #[serde(skip)]
    fields: Option<Vec<[String; 3]>>,
}

impl Present for ProbeAnswer {
    const SCHEMA: &'static str = "mlxplan.probe/1";

    fn document(&self) -> Document {
        let mut d = Document::default();
        d.heading(headline(&self.probe));
        match &self.fields {
            Some(fields) => d.table(explained(fields)),
            None => d.pairs(pairs(&self.probe)),
        }
        d.notes(self.measured.iter().map(MeasuredProduct::text).collect());
        add_engines(&mut d, (&self.engines, &self.running), &self.updates);
        d.notes(self.probe.notes.clone());
        d
    }
}

fn explained(fields: &[[String; 3]]) -> Table {
    let mut table =
        Table::new(vec![Column::text("field"), Column::text("value"), Column::text("source")]);
    for field in fields {
        table.row(field.clone());
    }
    table
}

/// Name, value and source of every field that is known.
fn fields(probe: &Probe) -> Result<Vec<[String; 3]>> {
    let mut fields = Vec::new();
    for (name, value) in serde_json::to_value(probe)?.as_object().into_iter().flatten() {
        if matches!(name.as_str(), "sources" | "notes") || value.is_null() {
            continue;
        }
        let source = probe.sources.get(name.as_str()).cloned().unwrap_or_default();
        fields.push([name.clone(), plain(value), source]);
    }
    Ok(fields)
}

fn headline(p: &Probe) -> String {
    let name = p.brand.clone().unwrap_or_else(|| "an unknown machine".to_owned());
    match (p.apple_silicon, p.virtual_machine) {
        (true, Some(true)) => format!("{name} (virtual machine)"),
        (true, _) => name,
        (false, _) => format!("{name} (not an Apple Silicon Mac)"),
    }
}

fn pairs(p: &Probe) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            out.push((name.to_owned(), value));
        }
    };
    add("product", p.mac.as_ref().map(|m| m.name.clone()).or_else(|| p.model_identifier.clone()));
    add("bin", p.chip.clone());
    let tiers: Vec<String> = p
        .core_tiers
        .iter()
        .map(|t| format!("{} {}", t.cores, t.name.clone().unwrap_or_default().to_lowercase()))
        .collect();
    let cores = p.cpu_cores.map(|n| n.to_string());
    add(
        "CPU cores",
        cores.map(|n| if tiers.is_empty() { n } else { format!("{n} ({})", tiers.join(", ")) }),
    );
    add("GPU cores", p.gpu_cores.map(|n| n.to_string()));
    add("GPU clock", p.gpu_clock_mhz.map(|mhz| format!("{mhz} MHz")));
    add("matrix units", p.matrix_units_usable.or(p.matrix_units).map(yes));
    add("memory", p.memory_bytes.map(|b| format!("{:.0} GiB", b.gib())));
    let bus = p.bandwidth_bus_gbs.map(|b| format!(" (bus {b} GB/s)")).unwrap_or_default();
    add("bandwidth", p.bandwidth_gbs.map(|b| format!("{b} GB/s{bus}")));
    add(
        "GPU limit",
        p.gpu_limit.as_ref().map(|l| format!("{:.2} GiB ({})", l.bytes.gib(), l.bytes)),
    );
    add("largest buffer", p.max_buffer_bytes.map(|b| format!("{:.2} GiB", b.gib())));
    add("macOS", p.macos.clone());
    add("power mode", p.power_mode.map(|m| m.to_string()));
    let battery = p.battery_percent.map(|n| format!(", battery {n} %")).unwrap_or_default();
    add("power", p.power_source.map(|s| format!("{s}{battery}")));
    add("thermal state", p.thermal_state.map(|t| t.to_string()));
    let free = p.memory_free_percent.map(|n| format!(", {n} % free")).unwrap_or_default();
    add("memory pressure", p.memory_pressure.map(|m| format!("{m}{free}")));
    add("swap in use", p.swap_used_bytes.map(|b| b.to_string()));
    out
}

fn yes(b: bool) -> String {
    (if b { "yes" } else { "no" }).to_owned()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}
