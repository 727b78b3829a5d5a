//! Macs: product, chip, memory options and US list prices (`macs.toml`, `prices.toml`).

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chip::Chip;
use super::document::{DataEntry, Problem, TomlFile, for_each_entry, word_field};
use crate::hardware::provenance::Confidence;

/// Whether a Mac can be bought new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Sold by Apple.
    OnSale,
    /// No longer sold by Apple.
    Discontinued,
    /// Announced, not yet sold.
    Announced,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OnSale => "on sale",
            Self::Discontinued => "discontinued",
            Self::Announced => "announced",
        })
    }
}

impl FromStr for Status {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "on_sale" => Ok(Self::OnSale),
            "discontinued" => Ok(Self::Discontinued),
            "announced" => Ok(Self::Announced),
            _ => Err(()),
        }
    }
}

word_field!(Status, "\"on_sale\", \"discontinued\" or \"announced\"");

/// A Mac: one product with one bin of a chip.
#[derive(Clone, Debug, PartialEq)]
pub struct Mac {
    /// Stable key: product, chip and year, for example `studio-m4max-40-2025`.
    pub id: String,
    /// Product line: `Mac Studio`, `MacBook Pro`.
    pub product: String,
    /// Display size in inches; `None` for desktops.
    pub size_in: Option<u32>,
    /// Year of launch.
    pub year: u32,
    /// Values of `sysctl hw.model`.
    pub hw_model: Vec<String>,
    /// Id of its chip.
    pub chip: String,
    /// Ids of further bins sold under the same model identifiers, without configurations of their own.
    pub other_chips: Vec<String>,
    /// Cooled without a fan: sustained load is slower than the peak.
    pub fanless: bool,
    /// Whether it can be bought new.
    pub status: Status,
    /// What was sold.
    pub configs: Vec<MacConfig>,
    /// Public references for identifiers, chip and memory, and data files that override this entry.
    pub sources: Vec<String>,
    /// Public references for the prices.
    pub price_sources: Vec<String>,
    /// How far to trust identifiers, chip and memory options.
    pub confidence: Confidence,
    /// Remarks.
    pub note: Option<String>,
}

/// One configuration of a Mac.
#[derive(Clone, Debug, PartialEq)]
pub struct MacConfig {
    /// Unified memory in GiB.
    pub memory_gib: u64,
    /// Storage in GB.
    pub ssd_gb: u64,
    /// US list price at launch.
    pub usd_launch: Option<u32>,
    /// Latest US list price known, or the user's own from `prices.toml`.
    pub usd_now: Option<u32>,
    /// How far to trust the prices.
    pub price_confidence: Option<Confidence>,
    /// Where the prices come from, where it is not `price_sources` of the Mac.
    pub price_source: Option<String>,
    /// Where it differs from the Mac's.
    pub status: Option<Status>,
}

impl Mac {
    /// Name with the display size and year: `MacBook Pro 16" (2024)`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.size_in {
            Some(inches) => format!("{} {inches}\" ({})", self.product, self.year),
            None => format!("{} ({})", self.product, self.year),
        }
    }

    /// Memory sizes in GiB that were sold, ascending.
    #[must_use]
    pub fn memory_options(&self) -> Vec<u64> {
        let mut sizes: Vec<_> = self.configs.iter().map(|config| config.memory_gib).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// Whether a bin is sold under this Mac's model identifiers.
    #[must_use]
    pub fn has_chip(&self, chip: &str) -> bool {
        self.chip == chip || self.other_chips.iter().any(|other| other == chip)
    }
}

#[rustfmt::skip]
const KEYS: &[&str] = &[
    "id", "product", "size_in", "year", "hw_model", "chip", "other_chips", "fanless", "status", "configs", "sources",
    "price_sources", "confidence", "note",
];
#[rustfmt::skip]
const CONFIG_KEYS: &[&str] =
    &["memory_gib", "ssd_gb", "usd_launch", "usd_now", "price_confidence", "price_source", "status"];

/// Reads the Macs of all files; a later file adds Macs or overrides keys of earlier ones.
pub(super) fn read(sources: &[TomlFile], chips: &[Chip], problems: &mut Vec<Problem>) -> Vec<Mac> {
    let mut macs: Vec<Mac> = Vec::new();
    for source in sources {
        let mut seen: HashSet<String> = HashSet::new();
        for_each_entry(source, problems, "mac", &["as_of"], |entry| {
            let Some(id) = entry.required::<String>("id", None) else {
                return;
            };
            entry.set_label(format!("mac {id}"));
            entry.only(KEYS);
            if !seen.insert(id.clone()) {
                entry.wrong("id", "stands twice in this file");
                return;
            }
            let index = macs.iter().position(|mac| mac.id == id);
            let Some(mac) = read_mac(entry, id, index.and_then(|i| macs.get(i))) else {
                return;
            };
            if !check(entry, &mac, chips) {
                return;
            }
            match index.and_then(|i| macs.get_mut(i)) {
                Some(old) => *old = mac,
                None => macs.push(mac),
            }
        });
    }
    macs
}

fn read_mac(entry: &mut DataEntry<'_>, id: String, base: Option<&Mac>) -> Option<Mac> {
    let product = entry.required("product", base.map(|b| b.product.clone()));
    let size_in = entry.optional("size_in");
    let year = entry.within("year", base.map(|b| b.year), 2020..=2099);
    let hw_model = entry.required("hw_model", base.map(|b| b.hw_model.clone()));
    let chip = entry.required("chip", base.map(|b| b.chip.clone()));
    let other_chips = entry.optional("other_chips");
    let fanless = entry.required("fanless", base.map(|b| b.fanless));
    let status = entry.required("status", base.map(|b| b.status));
    let confidence = entry.optional("confidence");
    let note = entry.optional("note");
    let mut sources = base.map_or_else(Vec::new, |b| b.sources.clone());
    sources.extend(entry.optional::<Vec<String>>("sources").unwrap_or_default());
    if !entry.embedded() {
        sources.push(entry.file().to_owned());
    }
    let mut price_sources = base.map_or_else(Vec::new, |b| b.price_sources.clone());
    price_sources.extend(entry.optional::<Vec<String>>("price_sources").unwrap_or_default());

    let mut configs = Vec::new();
    let given = entry.tables("configs", &mut |config| configs.extend(read_config(config)));
    match (given, base) {
        (true, _) => {}
        (false, Some(base)) => configs.clone_from(&base.configs),
        (false, None) => entry.wrong("configs", "is missing; it must be a list of configurations"),
    }
    if configs.is_empty() {
        entry.wrong("configs", "must list at least one valid configuration");
        return None;
    }
    Some(Mac {
        id,
        product: product?,
        size_in: size_in.or(base.and_then(|b| b.size_in)),
        year: year?,
        hw_model: hw_model?,
        chip: chip?,
        other_chips: other_chips.or_else(|| Some(base?.other_chips.clone())).unwrap_or_default(),
        fanless: fanless?,
        status: status?,
        configs,
        sources,
        price_sources,
        confidence: confidence.or(base.map(|b| b.confidence)).unwrap_or(Confidence::Medium),
        note: note.or_else(|| base?.note.clone()),
    })
}

fn read_config(entry: &mut DataEntry<'_>) -> Option<MacConfig> {
    entry.only(CONFIG_KEYS);
    let memory_gib = entry.within("memory_gib", None, 1..=65_536);
    let ssd_gb = entry.within("ssd_gb", None, 1..=1_000_000);
    let usd_launch = entry.optional("usd_launch");
    let usd_now = entry.optional("usd_now");
    let price_confidence = entry.optional("price_confidence");
    let price_source = entry.optional("price_source");
    let status = entry.optional("status");
    let (memory_gib, ssd_gb) = (memory_gib?, ssd_gb?);
    Some(MacConfig {
        memory_gib,
        ssd_gb,
        usd_launch,
        usd_now,
        price_confidence,
        price_source,
        status,
    })
}

fn check(entry: &mut DataEntry<'_>, mac: &Mac, chips: &[Chip]) -> bool {
    let mut good = true;
    let mut wrong = |key: &str, message: String| {
        entry.wrong(key, message);
        good = false;
    };
    if !mac.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        wrong("id", "may only have lower-case letters, digits and hyphens".into());
    }
    if chips.iter().any(|chip| chip.id == mac.id) {
        wrong("id", "is the id of a chip".into());
    }
    let unknown = |id: &str| {
        let hint = super::document::closest(id, chips.iter().map(|chip| chip.id.as_str()));
        format!("there is no chip \"{id}\"{hint}")
    };
    for other in &mac.other_chips {
        if !chips.iter().any(|chip| chip.id == *other) {
            wrong("other_chips", unknown(other));
        }
    }
    let Some(chip) = chips.iter().find(|chip| chip.id == mac.chip) else {
        wrong("chip", unknown(&mac.chip));
        return false;
    };
    for gib in mac.memory_options() {
        if !chip.memory_gib.contains(&gib) {
            let offered = &chip.memory_gib;
            wrong("configs", format!("{gib} GB is not offered with {}, only {offered:?}", chip.id));
        }
    }
    for (index, config) in mac.configs.iter().enumerate() {
        let twin = |other: &MacConfig| {
            (other.memory_gib, other.ssd_gb) == (config.memory_gib, config.ssd_gb)
        };
        if mac.configs.iter().take(index).any(twin) {
            let MacConfig { memory_gib, ssd_gb, .. } = config;
            wrong("configs", format!("{memory_gib} GB with {ssd_gb} GB storage stands twice"));
        }
    }
    good
}
