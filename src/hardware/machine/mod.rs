//! A resolved target: a bin of a chip with its memory, and everything the planner needs to know of it.

mod bins;
mod custom;

use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;

use super::cap::MemoryCap;
use super::catalog::{Chip, LimitEntry, Mac, MacsError};
use super::limits::{GpuLimit, MlxLimits};
use super::provenance::{Provenance, Sourced};
use super::tier::{ArchClass, Tier, split_metal_arch};
use crate::units::{Bytes, BytesPerSecond};

pub use custom::CustomMachine;

/// Operations of one GPU core per clock, of single and of half precision: 128 ALUs, each doing a fused multiply-add.
pub const FLOP_PER_CORE_CLOCK: f64 = 256.0;
/// Half-precision operations of one GPU core's matrix unit per clock
/// (github.com/kavanaghpatrick/gpu-forge/issues/15; an M6 measures 0.88 of it).
pub const MATRIX_FLOP_PER_CORE_CLOCK: f64 = 1024.0;

/// A machine to plan for. Every figure carries its provenance.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Machine {
    /// Short id that [`super::spec::resolve`] understands: bin and memory, for example `m4max-40/128`;
    /// `custom` and `unknown` machines have ids of their own.
    pub id: String,
    /// Name for people, for example `Apple M4 Max (40-core GPU), 128 GB`.
    pub name: String,
    /// Id of the chip in the catalog; `None` for a machine that is not in it.
    pub chip: Option<String>,
    /// The product, where it is known.
    pub mac: Option<MacRef>,
    /// Family number: 4 for M4.
    pub generation: Sourced<u32>,
    /// Tier within the family.
    pub tier: Sourced<Tier>,
    /// GPU cores.
    pub gpu_cores: Sourced<u32>,
    /// Advertised memory bandwidth of this bin with this much memory.
    pub bandwidth: Sourced<BytesPerSecond>,
    /// Bandwidth of the memory bus; the advertised figure is a rounding of it.
    pub bus_bandwidth: Sourced<BytesPerSecond>,
    /// Unified memory.
    pub memory: Sourced<Bytes>,
    /// Highest GPU clock in MHz.
    pub gpu_clock_mhz: Sourced<u32>,
    /// Whether the GPU has matrix units ("Neural Accelerators") that MLX can use, given a recent macOS and MLX.
    pub matrix_units: Sourced<bool>,
    /// Metal architecture name, for example `applegpu_g16s`.
    pub metal_arch: Sourced<String>,
    /// How much memory the GPU may keep resident.
    pub gpu_limit: GpuLimit,
    /// How much of the memory is meant for what is planned; `None` for all that the limits allow.
    pub budget: Option<Bytes>,
    /// The limit of memory that the program sets itself which is planned for; `None` where it has none.
    #[serde(skip)]
    #[schemars(skip)]
    pub cap: Option<MemoryCap>,
    /// Cooled without a fan; `None` when the product is not known.
    pub fanless: Option<bool>,
    /// System-level cache in MB, where published.
    pub slc_mb: Option<u32>,
    /// Thunderbolt generation, where stated.
    pub thunderbolt: Option<u32>,
    /// Watts of the GPU rail during decode, where measured.
    pub decode_gpu_w: Option<f64>,
    /// The bins that it may have, where only chip and memory are known; empty where the bin is known. Figures that differ
    /// between bins are those of the first, the one with the fewest GPU cores.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bins: Vec<Self>,
    /// What a reader should know about how the machine was resolved.
    pub notes: Vec<String>,
}

/// A product in the catalog.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct MacRef {
    /// Id in the catalog, for example `studio-m4max-40-2025`.
    pub id: String,
    /// Name with display size and year.
    pub name: String,
}

/// The machine as it stands in the `machine` object of mlxplan's JSON outputs.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct MachineSummary {
    /// As [`Machine::id`].
    pub id: String,
    /// As [`Machine::chip`]; `null` for a machine that is not in the catalog, or whose bin is not known.
    pub chip: Option<String>,
    /// GPU cores; `null` where the bin is not known.
    pub gpu_cores: Option<u32>,
    /// Advertised bandwidth, 10^9 bytes per second; `null` where the bin is not known.
    #[serde(serialize_with = "plain_number_or_null")]
    pub bandwidth_gbs: Option<f64>,
    /// Ids of the bins that it may have, where the bin is not known. Speeds span them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bins: Vec<String>,
    /// Unified memory in GiB.
    #[serde(serialize_with = "plain_number")]
    pub memory_gib: f64,
    /// GPU memory limit in bytes.
    pub gpu_limit_bytes: Bytes,
    /// Lowest and highest value of the limit in bytes.
    pub gpu_limit_range_bytes: [Bytes; 2],
}

/// A whole number without a decimal point, as people write memory sizes.
fn plain_number<S: serde::Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    let whole = x.fract() == 0.0 && (0.0..=1e15).contains(x);
    if whole { serializer.serialize_u64(*x as u64) } else { serializer.serialize_f64(*x) }
}

/// As [`plain_number`], of a number that may be unknown.
// `serialize_with` hands over a reference to the field.
#[allow(clippy::ref_option)]
fn plain_number_or_null<S: serde::Serializer>(
    x: &Option<f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match x {
        Some(x) => plain_number(x, serializer),
        None => serializer.serialize_none(),
    }
}

/// A machine that cannot be made from the figures given.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MachineError {
    /// The catalog has problems.
    #[error(transparent)]
    Catalog(#[from] MacsError),
    /// A figure is out of range.
    #[error("{what} must be from {low} to {high}, got {value}")]
    OutOfRange {
        /// Which figure, as the user knows it.
        what: &'static str,
        /// What was given.
        value: f64,
        /// Lowest value.
        low: f64,
        /// Highest value.
        high: f64,
    },
    /// No chip in the catalog has the generation or tier that was asked for.
    #[error(
        "no chip of generation {generation} in the catalog has the tier {tier}; leave one of them out"
    )]
    NoSuchFamily {
        /// Generation asked for.
        generation: u32,
        /// Tier asked for or guessed.
        tier: Tier,
    },
}

impl Machine {
    /// A bin from the catalog with this much memory.
    #[must_use]
    pub fn from_chip(chip: &Chip, memory_gib: u64, limits: &[LimitEntry]) -> Self {
        let memory = Bytes::from_gib(memory_gib);
        Self {
            id: format!("{}/{memory_gib}", chip.id),
            name: format!("{}, {memory_gib} GB", chip.name),
            chip: Some(chip.id.clone()),
            mac: None,
            generation: Sourced::new(chip.generation, chip.provenance("generation")),
            tier: Sourced::new(chip.tier, chip.provenance("tier")),
            gpu_cores: Sourced::new(chip.gpu_cores, chip.provenance("gpu_cores")),
            bandwidth: Sourced::new(chip.bandwidth(memory_gib), chip.provenance("bandwidth_gbs")),
            bus_bandwidth: chip.bus_bandwidth(memory_gib),
            memory: Sourced::new(memory, chip.provenance("memory_gib")),
            gpu_clock_mhz: Sourced::new(chip.gpu_clock_mhz, chip.provenance("gpu_clock_mhz")),
            matrix_units: Sourced::new(chip.matrix_units, chip.provenance("matrix_units")),
            metal_arch: chip.metal_arch(),
            gpu_limit: GpuLimit::predicted(limits, memory, chip.generation),
            budget: None,
            cap: None,
            fanless: None,
            slc_mb: chip.slc_mb,
            thunderbolt: chip.thunderbolt,
            decode_gpu_w: chip.decode_gpu_w,
            bins: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The same machine as this product.
    #[must_use]
    pub fn with_mac(mut self, mac: &Mac) -> Self {
        self.mac = Some(MacRef { id: mac.id.clone(), name: mac.name() });
        self.fanless = Some(mac.fanless);
        self
    }

    /// The same machine as a run finds it: with a GPU limit that was set, which is no more than there is memory, and
    /// memory that is meant for the run.
    #[must_use]
    pub fn granted(&self, gpu_limit: Option<Bytes>, budget: Option<Bytes>) -> Cow<'_, Self> {
        if gpu_limit.is_none() && budget.is_none() {
            return Cow::Borrowed(self);
        }
        let mut machine = self.clone();
        if let Some(bytes) = gpu_limit {
            machine.gpu_limit = machine.gpu_limit.with_bytes(bytes.min(self.memory.value));
        }
        machine.budget = budget.or(machine.budget);
        Cow::Owned(machine)
    }

    /// Bytes of the limit that the program sets itself: the value to plan with, and its range.
    #[must_use]
    pub fn cap_bytes(&self) -> Option<(MemoryCap, Bytes, [Bytes; 2])> {
        let cap = self.cap?;
        let share = |limit: Bytes| Bytes(limit.0 / 100 * u64::from(cap.percent));
        Some((cap, share(self.gpu_limit.bytes), self.gpu_limit.range.map(share)))
    }

    /// Class of the Metal architecture, which MLX chooses kernels by.
    #[must_use]
    pub fn arch_class(&self) -> ArchClass {
        let observed = split_metal_arch(&self.metal_arch.value).and_then(|(_, class)| class);
        observed.unwrap_or_else(|| self.tier.value.arch_class())
    }

    /// Generation number of the Metal architecture: 16 for `applegpu_g16s`.
    #[must_use]
    pub fn arch_generation(&self) -> u32 {
        split_metal_arch(&self.metal_arch.value)
            .map_or_else(|| self.generation.value.saturating_add(12), |(generation, _)| generation)
    }

    /// Limits that MLX derives from the GPU limit and the memory.
    #[must_use]
    pub fn mlx_limits(&self) -> MlxLimits {
        MlxLimits::derive(self.gpu_limit.bytes, self.memory.value)
    }

    /// The keys of the `machine` object in JSON outputs.
    #[must_use]
    pub fn summary(&self) -> MachineSummary {
        let known = self.bins.is_empty();
        MachineSummary {
            id: self.id.clone(),
            chip: self.chip.clone(),
            gpu_cores: known.then_some(self.gpu_cores.value),
            bandwidth_gbs: known.then(|| self.bandwidth.value.gbs()),
            bins: self.bins.iter().filter_map(|bin| bin.chip.clone()).collect(),
            memory_gib: self.memory.value.gib(),
            gpu_limit_bytes: self.gpu_limit.bytes,
            gpu_limit_range_bytes: self.gpu_limit.range,
        }
    }

    /// Every input with where it came from, in the order in which a reader wants them.
    #[must_use]
    pub fn provenance(&self) -> Vec<(&'static str, &Provenance)> {
        vec![
            ("generation", &self.generation.provenance),
            ("tier", &self.tier.provenance),
            ("gpu_cores", &self.gpu_cores.provenance),
            ("bandwidth", &self.bandwidth.provenance),
            ("bus_bandwidth", &self.bus_bandwidth.provenance),
            ("memory", &self.memory.provenance),
            ("gpu_clock", &self.gpu_clock_mhz.provenance),
            ("matrix_units", &self.matrix_units.provenance),
            ("metal_arch", &self.metal_arch.provenance),
            ("gpu_limit", &self.gpu_limit.provenance),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::{Confidence, Macs};

    fn machine(chip: &str, gib: u64) -> Machine {
        let catalog = Macs::embedded();
        let chip = catalog.chip(chip).unwrap().unwrap();
        Machine::from_chip(chip, gib, catalog.limits().unwrap())
    }

    #[test]
    fn architecture_class_is_as_observed_or_by_tier() {
        assert_eq!(machine("m3pro-18", 36).arch_class(), ArchClass::Max);
        assert_eq!(machine("m2pro-19", 32).arch_class(), ArchClass::Max); // not observed
        assert_eq!(machine("m4-10", 16).arch_class(), ArchClass::Base);
        assert_eq!(machine("m5ultra-80", 256).arch_class(), ArchClass::Ultra);
        let neo = machine("a18pro-5", 8);
        assert_eq!((neo.arch_class(), neo.arch_generation()), (ArchClass::Phone, 17));
    }

    #[test]
    fn a_field_without_a_public_source_has_low_confidence() {
        let neo = machine("a18pro-5", 8);
        let low = |provenance: &Provenance| provenance.confidence() == Confidence::Low;
        assert!(low(&neo.bandwidth.provenance));
        let m4 = machine("m4max-40", 64);
        assert!(!low(&m4.bandwidth.provenance) && low(&m4.bus_bandwidth.provenance));
    }

    #[test]
    fn the_summary_has_the_keys_of_the_json_contract() {
        let json = serde_json::to_value(machine("m4max-40", 128).summary()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "id": "m4max-40/128", "chip": "m4max-40", "gpu_cores": 40, "bandwidth_gbs": 546, "memory_gib": 128,
                "gpu_limit_bytes": 115_448_725_504_u64,
                "gpu_limit_range_bytes": [103_079_215_104_u64, 115_448_725_504_u64],
            })
        );
    }
}
