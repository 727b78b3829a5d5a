//! What machine is this: chip, bin, memory, GPU limit, and the state it is in.
//!
//! The work is split so that it can be tested anywhere. [`Readings`] are what the operating system said; on macOS
//! they are gathered natively (`sysctl`, IOKit, Metal) without root and without subprocesses except `pmset`, with
//! `system_profiler` as a fall-back. [`interpret()`] turns readings into a [`Probe`] and is the same everywhere, so
//! recorded readings of any Mac can be replayed on Linux. [`dump`] makes readings out of the output of shell commands.

#[cfg(any(target_os = "macos", test))]
mod command;
pub mod dump;
mod empty;
mod interpret;
mod linux;
mod machine;
#[cfg(target_os = "macos")]
mod macos;
mod matching;
pub mod parse;
pub mod readings;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::catalog::{Macs, MacsError};
use super::limits::GpuLimit;
use super::machine::MacRef;
use super::tier::Tier;
use crate::units::Bytes;

pub use interpret::interpret;
pub use matching::{BinMatch, family_of};
pub use parse::{MacosVersion, PowerMode};
pub use readings::{Platform, Readings};

/// What is known of the machine mlxplan runs on. Unknown values are `None` (JSON `null`).
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Probe {
    /// Operating system.
    pub platform: Platform,
    /// Whether this is a Mac with Apple Silicon running macOS, the only place where MLX has a GPU.
    pub apple_silicon: bool,
    /// Whether macOS runs in a virtual machine; then GPU cores and bandwidth are not those of a real Mac.
    pub virtual_machine: Option<bool>,
    /// Brand string of the chip: `Apple M4 Max`, without a virtual machine's suffix. On other machines, the CPU.
    pub brand: Option<String>,
    /// Family number, also of a chip that is not in the catalog.
    pub generation: Option<u32>,
    /// Tier, also of a chip that is not in the catalog.
    pub tier: Option<Tier>,
    /// Id of the bin in the catalog, when it was found.
    pub chip: Option<String>,
    /// Model identifier: `Mac16,9`.
    pub model_identifier: Option<String>,
    /// The product, when model identifier and bin name exactly one.
    pub mac: Option<MacRef>,
    /// Cooled without a fan.
    pub fanless: Option<bool>,
    /// Installed memory.
    pub memory_bytes: Option<Bytes>,
    /// CPU cores.
    pub cpu_cores: Option<u32>,
    /// CPU cores by tier, fastest first.
    pub core_tiers: Vec<CoreTier>,
    /// GPU cores.
    pub gpu_cores: Option<u32>,
    /// Highest GPU clock in MHz.
    pub gpu_clock_mhz: Option<u32>,
    /// Advertised memory bandwidth, 10^9 bytes per second.
    pub bandwidth_gbs: Option<f64>,
    /// Bandwidth of the memory bus, 10^9 bytes per second.
    pub bandwidth_bus_gbs: Option<f64>,
    /// Name of Metal's device.
    pub metal_device: Option<String>,
    /// Metal architecture: `applegpu_g16s`.
    pub metal_arch: Option<String>,
    /// Whether the GPU has matrix units.
    pub matrix_units: Option<bool>,
    /// Whether MLX can use them on this macOS; an MLX built for an older macOS still lacks them.
    pub matrix_units_usable: Option<bool>,
    /// How much memory the GPU may keep resident.
    #[serde(flatten, serialize_with = "flat_limit")]
    #[schemars(with = "LimitKeys")]
    pub gpu_limit: Option<GpuLimit>,
    /// Largest single Metal buffer.
    pub max_buffer_bytes: Option<Bytes>,
    /// macOS release: `26.5.2`.
    pub macos: Option<String>,
    /// Power mode.
    pub power_mode: Option<PowerMode>,
    /// Where power comes from.
    pub power_source: Option<PowerSource>,
    /// Charge of the battery in per cent; `None` without a battery.
    pub battery_percent: Option<u32>,
    /// Thermal state as macOS sees it; coarse, and known to read nominal while a laptop throttles.
    pub thermal_state: Option<ThermalState>,
    /// Memory pressure.
    pub memory_pressure: Option<MemoryPressure>,
    /// Memory that macOS counts as available, in per cent (`kern.memorystatus_level`).
    pub memory_free_percent: Option<u32>,
    /// Swap in use.
    pub swap_used_bytes: Option<Bytes>,
    /// Swap allocated.
    pub swap_total_bytes: Option<Bytes>,
    /// Where each field came from, by field name.
    pub sources: BTreeMap<&'static str, String>,
    /// What to know: what could not be read, what was inferred, what is unusual.
    pub notes: Vec<String>,
}

/// Cores of one speed.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct CoreTier {
    /// Apple's name: `Super`, `Performance`, `Efficiency`; `Standard` in a virtual machine.
    pub name: Option<String>,
    /// Physical cores.
    pub cores: u32,
    /// Level-2 cache of one cluster.
    pub l2_bytes: Option<Bytes>,
}

/// Where power comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerSource {
    /// Mains.
    Ac,
    /// The internal battery.
    Battery,
    /// An uninterruptible power supply.
    Ups,
}

/// `NSProcessInfo.thermalState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ThermalState {
    /// Within limits.
    Nominal,
    /// Slightly elevated.
    Fair,
    /// High; the system slows down.
    Serious,
    /// The system must cool down.
    Critical,
}

/// `kern.memorystatus_vm_pressure_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryPressure {
    /// 1.
    Normal,
    /// 2.
    Warn,
    /// 4.
    Critical,
}

macro_rules! display_words {
    ($type:ty { $($variant:ident => $word:literal),* $(,)? }) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word),* })
            }
        }
    };
}

display_words!(PowerSource { Ac => "mains", Battery => "battery", Ups => "UPS" });
display_words!(ThermalState {
    Nominal => "nominal", Fair => "fair", Serious => "serious", Critical => "critical",
});
display_words!(MemoryPressure { Normal => "normal", Warn => "warning", Critical => "critical" });

/// A machine that cannot be probed, or cannot be planned for with what the probe found.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProbeError {
    /// The catalog has problems.
    #[error(transparent)]
    Catalog(#[from] MacsError),
    /// Nothing could be read.
    #[error("this machine could not be read: {0}")]
    Unreadable(String),
    /// Not a Mac with Apple Silicon.
    #[error(
        "this machine ({0}) is not an Apple Silicon Mac; name the Mac to plan for, for example --mac m4max-40/64"
    )]
    NotAppleSilicon(String),
    /// macOS in a virtual machine.
    #[error(
        "this is a virtual machine on {0}, whose GPU is not that of a real Mac; name the Mac to plan for, for \
         example --mac m4max-40/64"
    )]
    VirtualMachine(String),
    /// The chip, or a bin with these GPU cores, is not in the catalog.
    #[error(
        "{what} is not in the catalog of {as_of}; give its memory bandwidth with --bandwidth GB/S, or add it to \
         chips.toml in a data folder"
    )]
    UnknownChip {
        /// Brand, GPU cores and memory as far as known.
        what: String,
        /// State of the catalog.
        as_of: &'static str,
    },
    /// The chip is known, but not which bin of it this is.
    #[error("could not tell which bin of {brand} this is; name it, one of {}", .choices.join(", "))]
    UnknownBin {
        /// Brand string.
        brand: String,
        /// Specifications of the bins.
        choices: Vec<String>,
    },
    /// Something that planning needs could not be read.
    #[error(
        "could not read {0} of this machine; name the Mac to plan for, for example --mac m4max-40/64"
    )]
    Incomplete(&'static str),
}

/// Probes this machine.
///
/// Takes well under 100 ms on macOS, needs no root, and changes nothing.
///
/// # Errors
/// When the catalog has problems, or nothing at all could be read. Readings that are missing are `None` in the
/// result and named in its notes.
pub fn probe(catalog: &Macs) -> Result<Probe, ProbeError> {
    interpret(&read(), catalog)
}

/// Reads this machine.
#[must_use]
pub fn read() -> Readings {
    #[cfg(target_os = "macos")]
    return macos::read();
    #[cfg(not(target_os = "macos"))]
    linux::read()
}

/// The keys of a GPU limit.
#[derive(JsonSchema, Serialize)]
struct LimitKeys {
    /// How much memory the GPU may keep resident.
    gpu_limit_bytes: Option<Bytes>,
    /// The least and the most that releases of macOS allow.
    gpu_limit_range_bytes: Option<[Bytes; 2]>,
    /// A raised limit, in MiB.
    wired_limit_mib: Option<u64>,
}

fn flat_limit<S: serde::Serializer>(limit: &Option<GpuLimit>, s: S) -> Result<S::Ok, S::Error> {
    LimitKeys {
        gpu_limit_bytes: limit.as_ref().map(|limit| limit.bytes),
        gpu_limit_range_bytes: limit.as_ref().map(|limit| limit.range),
        wired_limit_mib: limit.as_ref().and_then(|limit| limit.wired_limit_mib),
    }
    .serialize(s)
}
