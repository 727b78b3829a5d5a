//! Apple Silicon chips, one entry per bin of GPU cores and bandwidth (`chips.toml`).

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;

use super::document::{DataEntry, Problem, TomlFile, for_each_entry};
use crate::hardware::provenance::{Confidence, Provenance, Sourced};
use crate::hardware::tier::{Tier, default_metal_arch};
use crate::units::BytesPerSecond;

/// One bin of an Apple Silicon chip.
#[derive(Clone, Debug, PartialEq)]
pub struct Chip {
    /// Stable key: family, tier and GPU cores, for example `m4max-40`.
    pub id: String,
    /// Name with the bin, for example `Apple M4 Max (40-core GPU)`.
    pub name: String,
    /// What `sysctl machdep.cpu.brand_string` and Metal call it; the same for every bin.
    pub brand_string: String,
    /// Chip family: `M4`, `A18`.
    pub family: String,
    /// Family number; the A18 Pro counts as 4, because it shares the GPU family of M4.
    pub generation: u32,
    /// Tier within the family.
    pub tier: Tier,
    /// Year of the first Mac with this bin.
    pub year: u32,
    /// Super cores (M5 and later).
    pub cpu_super_cores: u32,
    /// Performance cores.
    pub cpu_p_cores: u32,
    /// Efficiency cores.
    pub cpu_e_cores: u32,
    /// GPU cores.
    pub gpu_cores: u32,
    /// Advertised memory bandwidth, 10^9 bytes per second.
    pub bandwidth_gbs: f64,
    /// Advertised bandwidth by memory size in GiB, where it depends on the memory bought.
    pub bandwidth_by_memory: BTreeMap<u64, f64>,
    /// Bus width times transfer rate, 10^9 bytes per second (computed); advertised figures round it.
    pub bandwidth_bus_gbs: f64,
    /// Memory options in GiB, ascending.
    pub memory_gib: Vec<u64>,
    /// Highest GPU clock in MHz.
    pub gpu_clock_mhz: u32,
    /// Whether the GPU has matrix units that MLX can use.
    pub matrix_units: bool,
    /// System-level cache in MB.
    pub slc_mb: Option<u32>,
    /// Metal architecture name as seen on a real host.
    pub metal_arch: Option<String>,
    /// Watts of the GPU rail during decode, where measured.
    pub decode_gpu_w: Option<f64>,
    /// Thunderbolt generation.
    pub thunderbolt: Option<u32>,
    /// Keys of this entry without a public source.
    pub unverified: Vec<String>,
    /// Public references, and data files that override this entry.
    pub sources: Vec<String>,
    /// How far to trust cores, bandwidth and memory.
    pub confidence: Confidence,
    /// Remarks.
    pub note: Option<String>,
}

impl Chip {
    /// Advertised bandwidth with this much memory.
    #[must_use]
    pub fn bandwidth(&self, memory_gib: u64) -> BytesPerSecond {
        let gbs = self.bandwidth_by_memory.get(&memory_gib).unwrap_or(&self.bandwidth_gbs);
        BytesPerSecond::from_gbs(*gbs)
    }

    /// Bandwidth of the memory bus with this much memory. Where the bandwidth depends on the memory bought and no bus
    /// figure is known for this size, the advertised figure stands in.
    #[must_use]
    pub fn bus_bandwidth(&self, memory_gib: u64) -> Sourced<BytesPerSecond> {
        match self.bandwidth_by_memory.get(&memory_gib) {
            Some(gbs) if *gbs != self.bandwidth_gbs => Sourced::new(
                BytesPerSecond::from_gbs(*gbs),
                Provenance::assumed(format!(
                    "no bus figure is known for {memory_gib} GB; the advertised one stands in"
                )),
            ),
            _ => Sourced::new(
                BytesPerSecond::from_gbs(self.bandwidth_bus_gbs),
                self.provenance("bandwidth_bus_gbs"),
            ),
        }
    }

    /// Metal architecture name: as seen on a host, else by the rule of family and tier.
    #[must_use]
    pub fn metal_arch(&self) -> Sourced<String> {
        match &self.metal_arch {
            Some(arch) => Sourced::new(arch.clone(), self.provenance("metal_arch")),
            None => Sourced::new(
                default_metal_arch(self.generation, self.tier),
                Provenance::assumed(format!(
                    "the pattern of family and tier; no {} host seen",
                    self.name
                )),
            ),
        }
    }

    /// Provenance of the value of `key`.
    #[must_use]
    pub fn provenance(&self, key: &str) -> Provenance {
        let unverified = self.unverified.iter().any(|k| k == key);
        Provenance::Catalog {
            source: format!("chips.toml {}: {}", self.id, self.sources.join("; ")),
            confidence: if unverified { Confidence::Low } else { self.confidence },
        }
    }

    /// `m4max` for `m4max-40`: the chip without its bin.
    #[must_use]
    pub fn family_id(&self) -> &str {
        self.id.rsplit_once('-').map_or(&self.id, |(family, _)| family)
    }
}

/// Plausible bandwidths in GB/s.
const GBS: RangeInclusive<f64> = 1.0..=100_000.0;

// The two TFLOPS figures in the file are arithmetic on cores and clock, which `Machine` repeats for the machine at hand.
#[rustfmt::skip]
const KEYS: &[&str] = &[
    "id", "name", "brand_string", "family", "generation", "tier", "year", "cpu_super_cores", "cpu_p_cores",
    "cpu_e_cores", "gpu_cores", "bandwidth_gbs", "bandwidth_by_memory", "bandwidth_bus_gbs", "memory_gib",
    "gpu_clock_mhz", "fp32_tflops", "matrix_units", "matrix_fp16_tflops", "slc_mb", "metal_arch", "decode_gpu_w",
    "thunderbolt", "unverified", "sources", "confidence", "note",
];

/// Reads the chips of all files; a later file adds chips or overrides keys of earlier ones.
pub(super) fn read(sources: &[TomlFile], problems: &mut Vec<Problem>) -> Vec<Chip> {
    let mut chips: Vec<Chip> = Vec::new();
    for source in sources {
        let mut seen: HashSet<String> = HashSet::new();
        for_each_entry(source, problems, "chip", &["as_of"], |entry| {
            let Some(id) = entry.required::<String>("id", None) else {
                return;
            };
            entry.set_label(format!("chip {id}"));
            entry.only(KEYS);
            if !seen.insert(id.clone()) {
                entry.wrong("id", "stands twice in this file");
                return;
            }
            let index = chips.iter().position(|chip| chip.id == id);
            let Some(chip) = read_chip(entry, id, index.and_then(|i| chips.get(i))) else {
                return;
            };
            if let Some(twin) = chips.iter().find(|other| is_twin(other, &chip)) {
                let message =
                    format!("chip {} has the same brand string, GPU cores and memory", twin.id);
                entry.wrong("gpu_cores", message);
                return;
            }
            match index.and_then(|i| chips.get_mut(i)) {
                Some(old) => *old = chip,
                None => chips.push(chip),
            }
        });
    }
    chips
}

fn read_chip(entry: &mut DataEntry<'_>, id: String, base: Option<&Chip>) -> Option<Chip> {
    // Everything is read before anything is given up, so that all problems of an entry are found.
    let family = entry.required("family", base.map(|b| b.family.clone()));
    let generation = entry.within("generation", base.map(|b| b.generation), 1..=99);
    let tier = entry.required("tier", base.map(|b| b.tier));
    let year = entry.within("year", base.map(|b| b.year), 2020..=2099);
    let brand_string: Option<String> =
        entry.required("brand_string", base.map(|b| b.brand_string.clone()));
    let gpu_cores = entry.within("gpu_cores", base.map(|b| b.gpu_cores), 1..=1024);
    let memory_gib = entry.required("memory_gib", base.map(|b| b.memory_gib.clone()));
    let bandwidth_gbs = entry.within("bandwidth_gbs", base.map(|b| b.bandwidth_gbs), GBS);
    // A new bandwidth without a new bus figure would leave the old bus figure standing.
    let same_bandwidth = base.filter(|b| Some(b.bandwidth_gbs) == bandwidth_gbs);
    let bus_base = same_bandwidth.map(|b| b.bandwidth_bus_gbs).or(bandwidth_gbs).or(Some(1.0));
    let bandwidth_bus_gbs = entry.within("bandwidth_bus_gbs", bus_base, GBS);
    let bandwidth_by_memory = entry.optional("bandwidth_by_memory");
    let gpu_clock_mhz = entry.within("gpu_clock_mhz", base.map(|b| b.gpu_clock_mhz), 100..=10_000);
    let matrix_units = entry.required("matrix_units", base.map(|b| b.matrix_units));
    let name: Option<String> = entry.optional("name");
    let cpu_super_cores = entry.optional("cpu_super_cores");
    let cpu_p_cores = entry.optional("cpu_p_cores");
    let cpu_e_cores = entry.optional("cpu_e_cores");
    let slc_mb = entry.optional("slc_mb");
    let metal_arch = entry.optional("metal_arch");
    let decode_gpu_w = entry.optional("decode_gpu_w");
    let thunderbolt = entry.optional("thunderbolt");
    let unverified = entry.optional("unverified");
    let confidence = entry.optional("confidence");
    let note = entry.optional("note");
    let sources = entry.optional("sources");
    let chip = Chip {
        id,
        name: name
            .or_else(|| base.map(|b| b.name.clone()))
            .or_else(|| Some(format!("{} ({}-core GPU)", brand_string.as_ref()?, gpu_cores?)))?,
        brand_string: brand_string?,
        family: family?,
        generation: generation?,
        tier: tier?,
        year: year?,
        cpu_super_cores: cpu_super_cores.or(base.map(|b| b.cpu_super_cores)).unwrap_or(0),
        cpu_p_cores: cpu_p_cores.or(base.map(|b| b.cpu_p_cores)).unwrap_or(0),
        cpu_e_cores: cpu_e_cores.or(base.map(|b| b.cpu_e_cores)).unwrap_or(0),
        gpu_cores: gpu_cores?,
        bandwidth_gbs: bandwidth_gbs?,
        bandwidth_by_memory: bandwidth_by_memory
            .or_else(|| same_bandwidth.map(|b| b.bandwidth_by_memory.clone()))
            .unwrap_or_default(),
        bandwidth_bus_gbs: bandwidth_bus_gbs?,
        memory_gib: memory_gib?,
        gpu_clock_mhz: gpu_clock_mhz?,
        matrix_units: matrix_units?,
        slc_mb: slc_mb.or(base.and_then(|b| b.slc_mb)),
        metal_arch: metal_arch.or_else(|| base?.metal_arch.clone()),
        decode_gpu_w: decode_gpu_w.or(base.and_then(|b| b.decode_gpu_w)),
        thunderbolt: thunderbolt.or(base.and_then(|b| b.thunderbolt)),
        unverified: unverified.unwrap_or_else(|| still_unverified(entry, base)),
        sources: all_sources(entry, base, sources.unwrap_or_default()),
        confidence: confidence.or(base.map(|b| b.confidence)).unwrap_or(Confidence::Medium),
        note: note.or_else(|| base?.note.clone()),
    };
    check(entry, &chip).then_some(chip)
}

/// What the overridden entry could not verify and this one does not state anew.
fn still_unverified(entry: &DataEntry<'_>, base: Option<&Chip>) -> Vec<String> {
    let keys = base.into_iter().flat_map(|b| &b.unverified);
    keys.filter(|key| !entry.has(key)).cloned().collect()
}

/// The sources of the entry, after those of the entry it overrides and with its file unless that is ours.
fn all_sources(entry: &DataEntry<'_>, base: Option<&Chip>, own: Vec<String>) -> Vec<String> {
    let mut sources = base.map_or_else(Vec::new, |b| b.sources.clone());
    sources.extend(own);
    if !entry.embedded() {
        sources.push(entry.file().to_owned());
    }
    sources
}

/// Whether a probe could not tell the two bins apart.
fn is_twin(a: &Chip, b: &Chip) -> bool {
    a.id != b.id
        && a.brand_string == b.brand_string
        && a.gpu_cores == b.gpu_cores
        && a.memory_gib.iter().any(|gib| b.memory_gib.contains(gib))
}

fn check(entry: &mut DataEntry<'_>, chip: &Chip) -> bool {
    let valid_id =
        chip.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !valid_id {
        entry.wrong("id", "may only have lower-case letters, digits and hyphens");
    }
    let ascending = chip.memory_gib.is_sorted_by(|a, b| a < b);
    let sane = chip.memory_gib.iter().all(|gib| (1..=65_536).contains(gib));
    if chip.memory_gib.is_empty() || !ascending || !sane {
        entry.wrong("memory_gib", "must list at least one size in GiB, smallest first");
    }
    let stray: Vec<_> =
        chip.bandwidth_by_memory.keys().filter(|gib| !chip.memory_gib.contains(gib)).collect();
    if !stray.is_empty() {
        entry.wrong("bandwidth_by_memory", format!("{stray:?} is not in memory_gib"));
    }
    let positive = chip.bandwidth_by_memory.values().all(|gbs| *gbs > 0.0);
    if !positive {
        entry.wrong("bandwidth_by_memory", "must be positive numbers in GB/s");
    }
    valid_id && !chip.memory_gib.is_empty() && ascending && sane && stray.is_empty() && positive
}
