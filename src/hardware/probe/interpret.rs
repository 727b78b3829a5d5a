//! From readings to a probe.

use std::collections::BTreeMap;

use super::matching::{BinMatch, family_of};
use super::parse::{self, MacosVersion};
use super::readings::{Platform, Readings};
use super::{
    CoreTier, MemoryPressure, PowerMode, PowerSource, Probe, ProbeError, SCHEMA, ThermalState,
    linux,
};
use crate::hardware::catalogue::{Catalogue, CatalogueError, Chip, Rule};
use crate::hardware::limits::{GpuLimit, MIB, default_limit};
use crate::hardware::machine::MacRef;
use crate::hardware::provenance::Provenance;
use crate::hardware::tier::split_metal_arch;
use crate::units::{Bytes, GIB};

/// Name of Metal's device in Apple's virtual machines.
const PARAVIRTUAL: &str = "Apple Paravirtual device";
/// First macOS release on which MLX uses the GPU's matrix units.
const MATRIX_UNITS_FROM: MacosVersion = MacosVersion {
    major: 26,
    minor: 2,
};
/// Releases on which the older and the newer default GPU limit were seen: up to 15, and from 26.1 on.
const OLDER_LIMIT_BEFORE: MacosVersion = MacosVersion {
    major: 16,
    minor: 0,
};
const NEWER_LIMIT_FROM: MacosVersion = MacosVersion {
    major: 26,
    minor: 1,
};

/// Concludes from readings what machine they are of.
///
/// # Errors
/// When the catalogue has problems, or the readings hold nothing at all.
pub fn interpret(readings: &Readings, catalogue: &Catalogue) -> Result<Probe, ProbeError> {
    if readings.platform == Platform::Linux {
        return linux::interpret(readings);
    }
    let mut probe = empty(readings);
    identity(&mut probe, readings);
    cpu(&mut probe, readings);
    gpu(&mut probe, readings);
    if probe.brand.is_none() && probe.memory_bytes.is_none() {
        return Err(ProbeError::Unreadable(readings.failures.join("; ")));
    }
    if probe.apple_silicon && probe.virtual_machine != Some(true) {
        bin(&mut probe, catalogue)?;
    }
    limit(&mut probe, readings, catalogue)?;
    state(&mut probe, readings);
    Ok(probe)
}

/// A probe in which nothing is known.
pub(super) fn empty(readings: &Readings) -> Probe {
    Probe {
        schema: SCHEMA,
        platform: readings.platform,
        apple_silicon: false,
        virtual_machine: None,
        brand: None,
        generation: None,
        tier: None,
        chip: None,
        model_identifier: None,
        mac: None,
        fanless: None,
        memory_bytes: None,
        cpu_cores: None,
        core_tiers: Vec::new(),
        gpu_cores: None,
        gpu_clock_mhz: None,
        bandwidth_gbs: None,
        bandwidth_bus_gbs: None,
        metal_device: None,
        metal_arch: None,
        matrix_units: None,
        matrix_units_usable: None,
        gpu_limit: None,
        max_buffer_bytes: None,
        macos: None,
        power_mode: None,
        power_source: None,
        battery_percent: None,
        thermal_state: None,
        memory_pressure: None,
        memory_free_percent: None,
        swap_used_bytes: None,
        swap_total_bytes: None,
        sources: BTreeMap::new(),
        notes: readings.failures.clone(),
    }
}

impl Probe {
    /// Takes the first alternative that has a value, and notes its source under the field's name.
    fn first<T>(
        &mut self,
        field: &'static str,
        alternatives: impl IntoIterator<Item = (Option<T>, &'static str)>,
    ) -> Option<T> {
        let (value, source) = alternatives
            .into_iter()
            .find_map(|(value, source)| Some((value?, source)))?;
        self.sources.insert(field, source.to_owned());
        Some(value)
    }
}

fn identity(probe: &mut Probe, readings: &Readings) {
    let profiler = readings.profiler.as_ref();
    let metal = readings.metal.as_ref();
    let brand = readings.text("machdep.cpu.brand_string");
    // A program built for Intel sees this name through Rosetta; Metal still tells the chip.
    let rosetta = brand
        .as_deref()
        .is_some_and(|brand| brand.starts_with("VirtualApple"));
    let metal_name = metal
        .and_then(|metal| metal.name.clone())
        .filter(|name| name != PARAVIRTUAL);
    let brand = probe.first(
        "brand",
        [
            (
                brand.filter(|_| !rosetta),
                "sysctl machdep.cpu.brand_string",
            ),
            (metal_name, "Metal device name"),
            (
                profiler.and_then(|p| p.chip.clone()),
                "system_profiler chip_type",
            ),
        ],
    );
    if rosetta {
        probe
            .notes
            .push("mlxplan runs under Rosetta; install the build for Apple Silicon".to_owned());
    }
    probe.model_identifier = probe.first(
        "model_identifier",
        [
            (readings.text("hw.model"), "sysctl hw.model"),
            (
                profiler.and_then(|p| p.model.clone()),
                "system_profiler machine_model",
            ),
        ],
    );
    let (brand, virtual_brand) = match brand {
        Some(brand) => match brand.strip_suffix("(Virtual)") {
            Some(host) => (Some(host.trim().to_owned()), true),
            None => (Some(brand), false),
        },
        None => (None, false),
    };
    let virtual_model = probe
        .model_identifier
        .as_deref()
        .is_some_and(|model| model.starts_with("VirtualMac"));
    let paravirtual = metal.and_then(|metal| metal.name.as_deref()) == Some(PARAVIRTUAL);
    let hypervisor = readings.int("kern.hv_vmm_present").map(|flag| flag != 0);
    probe.virtual_machine = probe.first(
        "virtual_machine",
        [
            (
                virtual_brand.then_some(true),
                "brand string with the suffix (Virtual)",
            ),
            (virtual_model.then_some(true), "sysctl hw.model"),
            (paravirtual.then_some(true), "Metal device name"),
            (hypervisor, "sysctl kern.hv_vmm_present"),
        ],
    );
    probe.apple_silicon = brand
        .as_deref()
        .is_some_and(|brand| brand.starts_with("Apple "));
    probe.brand = brand;
    probe.memory_bytes = probe.first(
        "memory_bytes",
        [
            (readings.int("hw.memsize").map(Bytes), "sysctl hw.memsize"),
            (
                profiler.and_then(|p| p.memory),
                "system_profiler physical_memory",
            ),
        ],
    );
    probe.macos = probe.first(
        "macos",
        [(
            readings.text("kern.osproductversion"),
            "sysctl kern.osproductversion",
        )],
    );
}

fn cpu(probe: &mut Probe, readings: &Readings) {
    // Macs have had one (virtual), two and three (M6) tiers of cores: every level is read, none assumed.
    let levels = readings.int("hw.nperflevels").unwrap_or(0).min(16);
    let key = |level: u64, name: &str| format!("hw.perflevel{level}.{name}");
    for level in 0..levels {
        if let Some(cores) = readings.int(&key(level, "physicalcpu")).and_then(small) {
            probe.core_tiers.push(CoreTier {
                name: readings.text(&key(level, "name")),
                cores,
                l2_bytes: readings.int(&key(level, "l2cachesize")).map(Bytes),
            });
        }
    }
    let mut source = "sysctl hw.perflevelN";
    if probe.core_tiers.is_empty()
        && let Some(text) = readings
            .profiler
            .as_ref()
            .and_then(|p| p.processors.as_deref())
    {
        let generation = probe
            .brand
            .as_deref()
            .and_then(family_of)
            .map(|(generation, _)| generation);
        let macos = probe.macos.as_deref().and_then(MacosVersion::parse);
        let tiers = parse::processors(text, macos, generation).into_iter();
        probe.core_tiers = tiers
            .map(|(name, cores)| CoreTier {
                name: Some(name.to_owned()),
                cores,
                l2_bytes: None,
            })
            .collect();
        source = "system_profiler number_processors";
    }
    if !probe.core_tiers.is_empty() {
        probe.sources.insert("core_tiers", source.to_owned());
    }
    let sum: u32 = probe.core_tiers.iter().map(|tier| tier.cores).sum();
    probe.cpu_cores = probe.first(
        "cpu_cores",
        [
            (
                readings.int("hw.physicalcpu").and_then(small),
                "sysctl hw.physicalcpu",
            ),
            ((sum > 0).then_some(sum), source),
        ],
    );
}

fn gpu(probe: &mut Probe, readings: &Readings) {
    let metal = readings.metal.as_ref();
    let profiler_cores = readings.profiler.as_ref().and_then(|p| p.gpu_cores);
    probe.gpu_cores = probe.first(
        "gpu_cores",
        [
            (
                readings.gpu_core_count.and_then(small),
                "IORegistry AGXAccelerator gpu-core-count",
            ),
            (
                profiler_cores.and_then(small),
                "system_profiler sppci_cores",
            ),
        ],
    );
    let clock = readings.gpu_dvfs.as_deref().and_then(parse::gpu_clock_mhz);
    probe.gpu_clock_mhz = probe.first(
        "gpu_clock_mhz",
        [(clock, "IORegistry pmgr voltage-states9, highest state")],
    );
    probe.metal_device = probe.first(
        "metal_device",
        [(metal.and_then(|m| m.name.clone()), "Metal name")],
    );
    probe.metal_arch = probe.first(
        "metal_arch",
        [(
            metal.and_then(|m| m.architecture.clone()),
            "Metal architecture.name",
        )],
    );
    probe.max_buffer_bytes = probe.first(
        "max_buffer_bytes",
        [(
            metal.and_then(|m| m.max_buffer_length),
            "Metal maxBufferLength",
        )],
    );
}

fn bin(probe: &mut Probe, catalogue: &Catalogue) -> Result<(), CatalogueError> {
    let Some(brand) = probe.brand.clone() else {
        return Ok(());
    };
    if let Some((generation, tier)) = family_of(&brand) {
        probe.generation = Some(generation);
        probe.tier = Some(tier);
        probe
            .sources
            .insert("generation", "brand string".to_owned());
        probe.sources.insert("tier", "brand string".to_owned());
    }
    let memory_gib = probe.memory_bytes.map(|memory| memory.0 / GIB);
    let found = BinMatch::find(catalogue.chips()?, &brand, probe.gpu_cores, memory_gib);
    let source = match found {
        BinMatch::Exact(_) => "brand string, GPU cores and memory",
        BinMatch::OtherMemory(chip) => {
            probe.notes.push(format!(
                "the catalogue does not list this memory size for {}",
                chip.name
            ));
            "brand string and GPU cores"
        }
        BinMatch::OnlyWithMemory(chip) => {
            probe.notes.push(format!(
                "the GPU cores could not be read; of the {brand} bins only the {}-core one is sold with this memory",
                chip.gpu_cores
            ));
            "brand string and memory"
        }
        BinMatch::UnknownBin => {
            probe.notes.push(format!(
                "no single bin of {brand} in the catalogue fits what was read"
            ));
            ""
        }
        BinMatch::UnknownChip => {
            probe.notes.push(format!("{brand} is not in the catalogue"));
            ""
        }
    };
    if let Some(chip) = found.chip() {
        probe.chip = Some(chip.id.clone());
        probe.sources.insert("chip", source.to_owned());
        from_catalogue(probe, chip, memory_gib.unwrap_or_default());
        product(probe, chip, catalogue)?;
    }
    let arch = probe.metal_arch.as_deref().and_then(split_metal_arch);
    let macos = probe.macos.as_deref().and_then(MacosVersion::parse);
    // The gate of MLX (mlx/backend/metal/device.cpp): macOS 26.2, GPU generation 17, or 18 on phone chips.
    let has_units =
        arch.map(|(generation, class)| generation >= if class == 'p' { 18 } else { 17 });
    probe.matrix_units = probe.matrix_units.or(has_units);
    probe.matrix_units_usable = match (probe.matrix_units, macos) {
        (Some(false), _) => Some(false),
        (Some(true), Some(macos)) => Some(macos >= MATRIX_UNITS_FROM),
        _ => None,
    };
    Ok(())
}

fn from_catalogue(probe: &mut Probe, chip: &Chip, memory_gib: u64) {
    let source = |key: &str| format!("chips.toml {} {key}", chip.id);
    probe.generation = Some(chip.generation);
    probe.tier = Some(chip.tier);
    probe.bandwidth_gbs = Some(chip.bandwidth(memory_gib).gbs());
    probe.bandwidth_bus_gbs = Some(chip.bus_bandwidth(memory_gib).value.gbs());
    probe.matrix_units = Some(chip.matrix_units);
    probe.sources.insert("generation", source("generation"));
    probe.sources.insert("tier", source("tier"));
    probe
        .sources
        .insert("bandwidth_gbs", source("bandwidth_gbs"));
    probe
        .sources
        .insert("bandwidth_bus_gbs", source("bandwidth_bus_gbs"));
    probe.sources.insert("matrix_units", source("matrix_units"));
    if probe.gpu_cores.is_none() {
        probe.gpu_cores = Some(chip.gpu_cores);
        probe.sources.insert("gpu_cores", source("gpu_cores"));
    }
    if probe.gpu_clock_mhz.is_none() {
        probe.gpu_clock_mhz = Some(chip.gpu_clock_mhz);
        probe
            .sources
            .insert("gpu_clock_mhz", source("gpu_clock_mhz"));
    }
    if probe.metal_arch.is_none() {
        probe.metal_arch = Some(chip.metal_arch().value);
        probe.sources.insert("metal_arch", source("metal_arch"));
    }
}

fn product(probe: &mut Probe, chip: &Chip, catalogue: &Catalogue) -> Result<(), CatalogueError> {
    let Some(model) = probe.model_identifier.clone() else {
        return Ok(());
    };
    let macs = catalogue.macs()?.iter();
    let fitting: Vec<_> = macs
        .filter(|mac| mac.has_chip(&chip.id) && mac.hw_model.contains(&model))
        .collect();
    if let [mac] = fitting.as_slice() {
        probe.mac = Some(MacRef {
            id: mac.id.clone(),
            name: mac.name(),
        });
        probe
            .sources
            .insert("mac", "macs.toml, by model identifier and bin".to_owned());
    }
    let mut fanless = fitting.iter().map(|mac| mac.fanless);
    if let Some(first) = fanless.next()
        && fanless.all(|other| other == first)
    {
        probe.fanless = Some(first);
        probe
            .sources
            .insert("fanless", format!("macs.toml, {model}"));
    }
    Ok(())
}

fn limit(
    probe: &mut Probe,
    readings: &Readings,
    catalogue: &Catalogue,
) -> Result<(), CatalogueError> {
    let Some(memory) = probe.memory_bytes.filter(|_| probe.apple_silicon) else {
        return Ok(());
    };
    let macos = probe.macos.as_deref().and_then(MacosVersion::parse);
    let predicted = default_on(catalogue, memory, probe.generation, macos)?;
    let wired_limit_mib = readings.int("iogpu.wired_limit_mb").unwrap_or(0);
    let reported = readings
        .metal
        .as_ref()
        .and_then(|metal| metal.recommended_max_working_set);
    let (limit, source) = match (reported, wired_limit_mib) {
        (Some(reported), _) => (
            GpuLimit::measured(reported, wired_limit_mib, predicted.default),
            "Metal recommendedMaxWorkingSetSize",
        ),
        (None, 0) => (
            predicted,
            "gpu_memory_limits.toml, by memory and macOS release",
        ),
        (None, mib) => {
            let limit = GpuLimit {
                provenance: Provenance::measured("sysctl iogpu.wired_limit_mb"),
                ..predicted.with_wired_limit(mib.min(memory.0 / MIB))
            };
            (limit, "sysctl iogpu.wired_limit_mb")
        }
    };
    probe.sources.insert("gpu_limit_bytes", source.to_owned());
    if let Some(mib) = limit.wired_limit_mib {
        probe.notes.push(format!(
            "the GPU limit was set to {mib} MiB with iogpu.wired_limit_mb"
        ));
    }
    if probe.max_buffer_bytes.is_none() {
        probe.max_buffer_bytes = Some(limit.max_buffer());
        let source = "three quarters of the default GPU limit (gpu_memory_limits.toml, max_buffer)";
        probe.sources.insert("max_buffer_bytes", source.to_owned());
    }
    probe.gpu_limit = Some(limit);
    Ok(())
}

/// The default limit, by the rule set of this macOS release where it is known.
fn default_on(
    catalogue: &Catalogue,
    memory: Bytes,
    generation: Option<u32>,
    macos: Option<MacosVersion>,
) -> Result<GpuLimit, CatalogueError> {
    let limits = catalogue.limits()?;
    let rule = match macos {
        Some(macos) if macos < OLDER_LIMIT_BEFORE => Rule::Older,
        Some(macos) if macos >= NEWER_LIMIT_FROM => Rule::Macos26,
        _ => return Ok(GpuLimit::predicted(limits, memory, generation.unwrap_or(1))),
    };
    let limit = default_limit(limits, memory, rule);
    Ok(GpuLimit {
        bytes: limit.low,
        range: [limit.low, limit.high],
        default: limit.low,
        wired_limit_mib: None,
        provenance: limit.provenance,
    })
}

fn state(probe: &mut Probe, readings: &Readings) {
    let low_power = readings.low_power_mode.map(|on| {
        if on {
            PowerMode::Low
        } else {
            PowerMode::Automatic
        }
    });
    probe.power_mode = probe.first(
        "power_mode",
        [
            (
                readings.pmset.as_deref().and_then(parse::power_mode),
                "pmset -g",
            ),
            (low_power, "NSProcessInfo isLowPowerModeEnabled"),
        ],
    );
    let source = readings
        .power_source
        .as_deref()
        .and_then(|source| match source {
            "AC Power" => Some(PowerSource::Ac),
            "Battery Power" => Some(PowerSource::Battery),
            "UPS Power" => Some(PowerSource::Ups),
            _ => None,
        });
    probe.power_source = probe.first("power_source", [(source, "IOKit power sources")]);
    let percent = readings
        .battery_percent
        .filter(|percent| *percent <= 100)
        .and_then(small);
    probe.battery_percent = probe.first("battery_percent", [(percent, "IOKit power sources")]);
    let thermal = readings.thermal_state.and_then(|state| match state {
        0 => Some(ThermalState::Nominal),
        1 => Some(ThermalState::Fair),
        2 => Some(ThermalState::Serious),
        3 => Some(ThermalState::Critical),
        _ => None,
    });
    probe.thermal_state = probe.first("thermal_state", [(thermal, "NSProcessInfo thermalState")]);
    let pressure = match readings.int("kern.memorystatus_vm_pressure_level") {
        Some(1) => Some(MemoryPressure::Normal),
        Some(2) => Some(MemoryPressure::Warn),
        Some(4) => Some(MemoryPressure::Critical),
        _ => None,
    };
    probe.memory_pressure = probe.first(
        "memory_pressure",
        [(pressure, "sysctl kern.memorystatus_vm_pressure_level")],
    );
    let free = readings
        .int("kern.memorystatus_level")
        .filter(|level| *level <= 100)
        .and_then(small);
    probe.memory_free_percent = probe.first(
        "memory_free_percent",
        [(free, "sysctl kern.memorystatus_level")],
    );
    if let Some(swap) = readings.swap {
        probe.swap_used_bytes = Some(swap.used);
        probe.swap_total_bytes = Some(swap.total);
        probe
            .sources
            .insert("swap_used_bytes", "sysctl vm.swapusage".to_owned());
    }
}

/// A count that is plausible as one, so that sums of them cannot overflow.
fn small(value: u64) -> Option<u32> {
    u32::try_from(value).ok().filter(|value| *value <= 100_000)
}
