//! Which bin and product the readings are of, and what the catalog adds.

use crate::hardware::catalog::{Chip, Macs, MacsError};
use crate::hardware::machine::MacRef;
use crate::hardware::probe::Probe;
use crate::hardware::probe::matching::{BinMatch, family_of};
use crate::hardware::probe::parse::MacosVersion;
use crate::hardware::tier::{ArchClass, split_metal_arch};
use crate::units::GIB;

/// First macOS release on which MLX uses the GPU's matrix units.
const MATRIX_UNITS_FROM: MacosVersion = MacosVersion { major: 26, minor: 2 };

/// Finds the bin and fills in what only the catalog knows.
pub(super) fn find(probe: &mut Probe, catalog: &Macs) -> Result<(), MacsError> {
    let Some(brand) = probe.brand.clone() else {
        return Ok(());
    };
    if let Some((generation, tier)) = family_of(&brand) {
        probe.generation = Some(generation);
        probe.tier = Some(tier);
        probe.sources.insert("generation", "brand string".to_owned());
        probe.sources.insert("tier", "brand string".to_owned());
    }
    let memory_gib = probe.memory_bytes.map(|memory| memory.0 / GIB);
    let found = BinMatch::find(catalog.chips()?, &brand, probe.gpu_cores, memory_gib);
    let source = match found {
        BinMatch::Exact(_) => "brand string, GPU cores and memory",
        BinMatch::OtherMemory(chip) => {
            probe
                .notes
                .push(format!("the catalog does not list this memory size for {}", chip.name));
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
            probe.notes.push(format!("no single bin of {brand} in the catalog fits what was read"));
            ""
        }
        BinMatch::UnknownChip => {
            probe.notes.push(format!("{brand} is not in the catalog"));
            ""
        }
    };
    if let Some(chip) = found.chip() {
        probe.chip = Some(chip.id.clone());
        probe.sources.insert("chip", source.to_owned());
        from_catalog(probe, chip, memory_gib.unwrap_or_default());
        product(probe, chip, catalog)?;
    }
    let arch = probe.metal_arch.as_deref().and_then(split_metal_arch);
    let macos = probe.macos.as_deref().and_then(MacosVersion::parse);
    // The gate of MLX (mlx/backend/metal/device.cpp): macOS 26.2, GPU generation 17, or 18 on phone chips.
    let has_units = arch.map(|(generation, class)| {
        generation >= if class == Some(ArchClass::Phone) { 18 } else { 17 }
    });
    probe.matrix_units = probe.matrix_units.or(has_units);
    probe.matrix_units_usable = match (probe.matrix_units, macos) {
        (Some(false), _) => Some(false),
        (Some(true), Some(macos)) => Some(macos >= MATRIX_UNITS_FROM),
        _ => None,
    };
    Ok(())
}

fn from_catalog(probe: &mut Probe, chip: &Chip, memory_gib: u64) {
    let source = |key: &str| format!("chips.toml {} {key}", chip.id);
    probe.generation = Some(chip.generation);
    probe.tier = Some(chip.tier);
    probe.bandwidth_gbs = Some(chip.bandwidth(memory_gib).gbs());
    probe.bandwidth_bus_gbs = Some(chip.bus_bandwidth(memory_gib).value.gbs());
    probe.matrix_units = Some(chip.matrix_units);
    probe.sources.insert("generation", source("generation"));
    probe.sources.insert("tier", source("tier"));
    probe.sources.insert("bandwidth_gbs", source("bandwidth_gbs"));
    probe.sources.insert("bandwidth_bus_gbs", source("bandwidth_bus_gbs"));
    probe.sources.insert("matrix_units", source("matrix_units"));
    if probe.gpu_cores.is_none() {
        probe.gpu_cores = Some(chip.gpu_cores);
        probe.sources.insert("gpu_cores", source("gpu_cores"));
    }
    if probe.gpu_clock_mhz.is_none() {
        probe.gpu_clock_mhz = Some(chip.gpu_clock_mhz);
        probe.sources.insert("gpu_clock_mhz", source("gpu_clock_mhz"));
    }
    if probe.metal_arch.is_none() {
        probe.metal_arch = Some(chip.metal_arch().value);
        probe.sources.insert("metal_arch", source("metal_arch"));
    }
}

fn product(probe: &mut Probe, chip: &Chip, catalog: &Macs) -> Result<(), MacsError> {
    let Some(model) = probe.model_identifier.clone() else {
        return Ok(());
    };
    let macs = catalog.macs()?.iter();
    let fitting: Vec<_> =
        macs.filter(|mac| mac.has_chip(&chip.id) && mac.hw_model.contains(&model)).collect();
    if let [mac] = fitting.as_slice() {
        probe.mac = Some(MacRef { id: mac.id.clone(), name: mac.name() });
        probe.sources.insert("mac", "macs.toml, by model identifier and bin".to_owned());
    }
    let mut fanless = fitting.iter().map(|mac| mac.fanless);
    if let Some(first) = fanless.next()
        && fanless.all(|other| other == first)
    {
        probe.fanless = Some(first);
        probe.sources.insert("fanless", format!("macs.toml, {model}"));
    }
    Ok(())
}
