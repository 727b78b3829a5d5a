//! From readings to a probe.

mod bin;
mod limit;
mod state;

use super::empty::empty;
use super::matching::family_of;
use super::parse::{self, MacosVersion};
use super::readings::{Platform, Readings};
use super::{CoreTier, Probe, ProbeError, linux};
use crate::hardware::catalog::Macs;
use crate::units::Bytes;

/// Name of Metal's device in Apple's virtual machines.
const PARAVIRTUAL: &str = "Apple Paravirtual device";

/// Concludes from readings what machine they are of.
///
/// # Errors
/// When the catalog has problems, or the readings hold nothing at all.
pub fn interpret(readings: &Readings, catalog: &Macs) -> Result<Probe, ProbeError> {
    if readings.platform == Platform::Linux {
        return linux::interpret(readings);
    }
    let mut probe = empty(readings);
    identity(&mut probe, readings);
    cpu(&mut probe, readings);
    gpu(&mut probe, readings);
    if probe.brand.is_none() && probe.memory_bytes.is_none() {
        let reason = match &readings.failures[..] {
            [] => "it says neither which chip it has nor how much memory; expected the output of sysctl, ioreg, \
                   system_profiler, pmset or mx.device_info"
                .to_owned(),
            failures => failures.join("; "),
        };
        return Err(ProbeError::Unreadable(reason));
    }
    if probe.apple_silicon && probe.virtual_machine != Some(true) {
        bin::find(&mut probe, catalog)?;
    }
    limit::read(&mut probe, readings, catalog)?;
    state::read(&mut probe, readings);
    Ok(probe)
}

impl Probe {
    /// Takes the first alternative that has a value, and notes its source under the field's name.
    fn first<T>(
        &mut self,
        field: &'static str,
        alternatives: impl IntoIterator<Item = (Option<T>, &'static str)>,
    ) -> Option<T> {
        let (value, source) =
            alternatives.into_iter().find_map(|(value, source)| Some((value?, source)))?;
        self.sources.insert(field, source.to_owned());
        Some(value)
    }
}

fn identity(probe: &mut Probe, readings: &Readings) {
    let profiler = readings.profiler.as_ref();
    let metal = readings.metal.as_ref();
    let brand = readings.text("machdep.cpu.brand_string");
    // A program built for Intel sees this name through Rosetta; Metal still tells the chip.
    let rosetta = brand.as_deref().is_some_and(|brand| brand.starts_with("VirtualApple"));
    let metal_name = metal.and_then(|metal| metal.name.clone()).filter(|name| name != PARAVIRTUAL);
    let brand = probe.first(
        "brand",
        [
            (brand.filter(|_| !rosetta), "sysctl machdep.cpu.brand_string"),
            (metal_name, "Metal device name"),
            (profiler.and_then(|p| p.chip.clone()), "system_profiler chip_type"),
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
            (profiler.and_then(|p| p.model.clone()), "system_profiler machine_model"),
        ],
    );
    let (brand, virtual_brand) = match brand {
        Some(brand) => match brand.strip_suffix("(Virtual)") {
            Some(host) => (Some(host.trim().to_owned()), true),
            None => (Some(brand), false),
        },
        None => (None, false),
    };
    let virtual_model =
        probe.model_identifier.as_deref().is_some_and(|model| model.starts_with("VirtualMac"));
    let paravirtual = metal.and_then(|metal| metal.name.as_deref()) == Some(PARAVIRTUAL);
    let hypervisor = readings.int("kern.hv_vmm_present").map(|flag| flag != 0);
    probe.virtual_machine = probe.first(
        "virtual_machine",
        [
            (virtual_brand.then_some(true), "brand string with the suffix (Virtual)"),
            (virtual_model.then_some(true), "sysctl hw.model"),
            (paravirtual.then_some(true), "Metal device name"),
            (hypervisor, "sysctl kern.hv_vmm_present"),
        ],
    );
    probe.apple_silicon = brand.as_deref().is_some_and(|brand| brand.starts_with("Apple "));
    probe.brand = brand;
    probe.memory_bytes = probe.first(
        "memory_bytes",
        [
            (readings.int("hw.memsize").map(Bytes), "sysctl hw.memsize"),
            (profiler.and_then(|p| p.memory), "system_profiler physical_memory"),
        ],
    );
    probe.macos = probe
        .first("macos", [(readings.text("kern.osproductversion"), "sysctl kern.osproductversion")]);
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
        && let Some(text) = readings.profiler.as_ref().and_then(|p| p.processors.as_deref())
    {
        let generation =
            probe.brand.as_deref().and_then(family_of).map(|(generation, _)| generation);
        let macos = probe.macos.as_deref().and_then(MacosVersion::parse);
        let tiers = parse::processors(text, macos, generation).into_iter();
        probe.core_tiers = tiers
            .map(|(name, cores)| CoreTier { name: Some(name.to_owned()), cores, l2_bytes: None })
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
            (readings.int("hw.physicalcpu").and_then(small), "sysctl hw.physicalcpu"),
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
            (readings.gpu_core_count.and_then(small), "IORegistry AGXAccelerator gpu-core-count"),
            (profiler_cores.and_then(small), "system_profiler sppci_cores"),
        ],
    );
    let clock = readings.gpu_dvfs.as_deref().and_then(parse::gpu_clock_mhz);
    probe.gpu_clock_mhz =
        probe.first("gpu_clock_mhz", [(clock, "IORegistry pmgr voltage-states9, highest state")]);
    probe.metal_device =
        probe.first("metal_device", [(metal.and_then(|m| m.name.clone()), "Metal name")]);
    probe.metal_arch = probe.first(
        "metal_arch",
        [(metal.and_then(|m| m.architecture.clone()), "Metal architecture.name")],
    );
    probe.max_buffer_bytes = probe.first(
        "max_buffer_bytes",
        [(metal.and_then(|m| m.max_buffer_length), "Metal maxBufferLength")],
    );
}

/// A count that is plausible as one, so that sums of them cannot overflow.
fn small(value: u64) -> Option<u32> {
    u32::try_from(value).ok().filter(|value| *value <= 100_000)
}
