//! `mlxplan macs`: the catalogs of Macs and chips.

use super::shared::context::Catalogs;
use super::shared::exit::ExitStatus;
use super::shared::words::{contains, usd};
use crate::hardware::catalog::{AS_OF, Chip, Mac, Status};
use crate::hardware::provenance::Confidence;
use crate::hardware::tier::Tier;
use crate::report::{Answer, Column, Document, Present, Table};
use anyhow::Result;
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Arguments of `macs`.
#[derive(Debug, Args)]
pub struct MacsArgs {
    /// Words that the product, chip or identifier must contain
    #[arg(value_name = "WORDS")]
    pub words: Vec<String>,

    /// List the chip bins instead of the products
    #[arg(long)]
    pub chips: bool,
}

pub(super) fn run(catalogs: &Catalogs, args: &MacsArgs) -> Result<(Answer, ExitStatus)> {
    let answer = if args.chips {
        Answer::of(ChipsAnswer::of(catalogs, &args.words)?)
    } else {
        Answer::of(MacsAnswer::of(catalogs, &args.words)?)
    };
    Ok((answer, ExitStatus::Ok))
}

/// The object `mlxplan.chips/1`.
#[derive(Serialize, JsonSchema)]
pub(super) struct ChipsAnswer {
    /// State of public knowledge.
    as_of: &'static str,
    /// The chips, in the order of the catalog.
    chips: Vec<ChipKeys>,
}

/// One bin of a chip.
#[derive(Serialize, JsonSchema)]
struct ChipKeys {
    /// Id of the bin.
    id: String,
    /// Name with the bin.
    name: String,
    /// Family number.
    generation: u32,
    /// Tier within the family.
    tier: Tier,
    /// Year of the first Mac with it.
    year: u32,
    /// GPU cores.
    gpu_cores: u32,
    /// Advertised memory bandwidth, 10^9 bytes per second.
    bandwidth_gbs: f64,
    /// The same by memory size in GiB, where it depends on that.
    bandwidth_by_memory: BTreeMap<u64, f64>,
    /// Bandwidth of the memory bus, 10^9 bytes per second.
    bandwidth_bus_gbs: f64,
    /// Memory options in GiB.
    memory_gib: Vec<u64>,
    /// Highest GPU clock in MHz.
    gpu_clock_mhz: u32,
    /// Whether the GPU has matrix units.
    matrix_units: bool,
    /// How far to trust it.
    confidence: Confidence,
    /// Keys without a public source.
    unverified: Vec<String>,
    /// Public references.
    sources: Vec<String>,
}

/// The object `mlxplan.macs/1`.
#[derive(Serialize, JsonSchema)]
pub(super) struct MacsAnswer {
    /// State of public knowledge.
    as_of: &'static str,
    /// The Macs, in the order of the catalog.
    macs: Vec<MacKeys>,
}

/// A product with one bin of a chip.
#[derive(Serialize, JsonSchema)]
struct MacKeys {
    /// Id of the product.
    id: String,
    /// Name with display size and year.
    name: String,
    /// Product line.
    product: String,
    /// Display size in inches.
    size_in: Option<u32>,
    /// Year of launch.
    year: u32,
    /// Model identifiers.
    hw_model: Vec<String>,
    /// Id of its chip.
    chip: String,
    /// Further bins under the same identifiers.
    other_chips: Vec<String>,
    /// Cooled without a fan.
    fanless: bool,
    /// Whether it can be bought new.
    status: Status,
    /// What was sold.
    configs: Vec<ConfigKeys>,
    /// How far to trust identifiers, chip and memory.
    confidence: Confidence,
    /// Public references.
    sources: Vec<String>,
    /// Public references for the prices.
    price_sources: Vec<String>,
    /// Remarks.
    note: Option<String>,
    /// Bandwidth for the table.
    #[serde(skip)]
    bandwidths: String,
    /// Memory options for the table, GiB.
    #[serde(skip)]
    memory: Vec<u64>,
}

/// One configuration.
#[derive(Serialize, JsonSchema)]
struct ConfigKeys {
    /// Memory in GiB.
    memory_gib: u64,
    /// Storage in GB.
    ssd_gb: u64,
    /// US list price at launch.
    usd_launch: Option<u32>,
    /// Latest US list price known.
    usd_now: Option<u32>,
    /// How far to trust the prices.
    price_confidence: Option<Confidence>,
    /// Whether it can be bought new.
    status: Status,
}

impl ChipsAnswer {
    fn of(catalogs: &Catalogs, words: &[String]) -> Result<Self> {
        let wanted = |c: &&Chip| contains(words, &format!("{} {}", c.id, c.name));
        let chips = catalogs.macs.chips()?.iter().filter(wanted).map(ChipKeys::of).collect();
        Ok(Self { as_of: AS_OF, chips })
    }
}

impl ChipKeys {
    fn of(c: &Chip) -> Self {
        Self {
            id: c.id.clone(),
            name: c.name.clone(),
            generation: c.generation,
            tier: c.tier,
            year: c.year,
            gpu_cores: c.gpu_cores,
            bandwidth_gbs: c.bandwidth_gbs,
            bandwidth_by_memory: c.bandwidth_by_memory.clone(),
            bandwidth_bus_gbs: c.bandwidth_bus_gbs,
            memory_gib: c.memory_gib.clone(),
            gpu_clock_mhz: c.gpu_clock_mhz,
            matrix_units: c.matrix_units,
            confidence: c.confidence,
            unverified: c.unverified.clone(),
            sources: c.sources.clone(),
        }
    }
}

impl Present for ChipsAnswer {
    const SCHEMA: &'static str = "mlxplan.chips/1";

    fn document(&self) -> Document {
        let mut table = Table::new(vec![
            Column::text("chip"),
            Column::number("GPU cores"),
            Column::number("GB/s"),
            Column::number("GPU MHz").droppable(3),
            Column::text("matrix units").droppable(2),
            Column::text("memory, GB"),
            Column::number("year").droppable(1),
        ]);
        for c in &self.chips {
            table.row([
                c.id.clone(),
                c.gpu_cores.to_string(),
                bandwidths(c.bandwidth_gbs, &c.bandwidth_by_memory),
                c.gpu_clock_mhz.to_string(),
                (if c.matrix_units { "yes" } else { "no" }).to_owned(),
                list(&c.memory_gib),
                c.year.to_string(),
            ]);
        }
        document(table, self.chips.len(), "chips")
    }
}

impl MacsAnswer {
    fn of(catalogs: &Catalogs, words: &[String]) -> Result<Self> {
        let chips = catalogs.macs.chips()?;
        let keys = |m: &Mac| MacKeys::of(m, chips.iter().find(|c| c.id == m.chip));
        let text = |m: &Mac| format!("{} {} {} {}", m.id, m.name(), m.chip, m.hw_model.join(" "));
        let all = catalogs.macs.macs()?.iter().filter(|m| contains(words, &text(m)));
        Ok(Self { as_of: AS_OF, macs: all.map(keys).collect() })
    }
}

impl MacKeys {
    fn of(m: &Mac, chip: Option<&Chip>) -> Self {
        let config = |c: &crate::hardware::catalog::MacConfig| ConfigKeys {
            memory_gib: c.memory_gib,
            ssd_gb: c.ssd_gb,
            usd_launch: c.usd_launch,
            usd_now: c.usd_now,
            price_confidence: c.price_confidence,
            status: c.status.unwrap_or(m.status),
        };
        Self {
            id: m.id.clone(),
            name: m.name(),
            product: m.product.clone(),
            size_in: m.size_in,
            year: m.year,
            hw_model: m.hw_model.clone(),
            chip: m.chip.clone(),
            other_chips: m.other_chips.clone(),
            fanless: m.fanless,
            status: m.status,
            configs: m.configs.iter().map(config).collect(),
            confidence: m.confidence,
            sources: m.sources.clone(),
            price_sources: m.price_sources.clone(),
            note: m.note.clone(),
            bandwidths: chip
                .map(|c| bandwidths(c.bandwidth_gbs, &c.bandwidth_by_memory))
                .unwrap_or_default(),
            memory: m.memory_options(),
        }
    }

    fn price_range(&self) -> String {
        let prices = || self.configs.iter().filter_map(|c| c.usd_now);
        match (prices().min(), prices().max()) {
            (Some(low), Some(high)) if low != high => format!("{low}–{high}"),
            (low, _) => usd(low),
        }
    }
}

impl Present for MacsAnswer {
    const SCHEMA: &'static str = "mlxplan.macs/1";
    const NOT_MODELED: &'static [&'static str] = &["street, education and refurbished prices"];

    fn document(&self) -> Document {
        let mut table = Table::new(vec![
            Column::text("Mac"),
            Column::text("chip").droppable(1),
            Column::number("GB/s"),
            Column::text("memory, GB"),
            Column::number("USD now"),
            Column::text("status").droppable(2),
        ]);
        for m in &self.macs {
            table.row([
                m.id.clone(),
                m.chip.clone(),
                m.bandwidths.clone(),
                list(&m.memory),
                m.price_range(),
                m.status.to_string(),
            ]);
        }
        document(table, self.macs.len(), "Macs")
    }
}

fn bandwidths(usual: f64, by_memory: &BTreeMap<u64, f64>) -> String {
    if by_memory.is_empty() {
        return usual.to_string();
    }
    let mut all: Vec<f64> = by_memory.values().copied().collect();
    all.dedup();
    all.iter().map(f64::to_string).collect::<Vec<_>>().join("/")
}

fn list(sizes: &[u64]) -> String {
    sizes.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

/// A table with its remarks.
fn document(table: Table, n: usize, what: &str) -> Document {
    let mut d = Document::default();
    d.table(table);
    d.notes(vec![if n == 0 {
        format!("No {what} match; without words, all are listed.")
    } else {
        format!(
            "{n} {what}; state of public knowledge {AS_OF}. Prices are US list prices; ? = not known."
        )
    }]);
    d
}
