//! The state the machine is in: power, heat, memory pressure.

use super::small;
use crate::hardware::probe::{
    MemoryPressure, PowerMode, PowerSource, Probe, Readings, ThermalState, parse,
};

/// Fills in the state.
pub(super) fn read(probe: &mut Probe, readings: &Readings) {
    let low_power =
        readings.low_power_mode.map(|on| if on { PowerMode::Low } else { PowerMode::Automatic });
    probe.power_mode = probe.first(
        "power_mode",
        [
            (readings.pmset.as_deref().and_then(parse::power_mode), "pmset -g"),
            (low_power, "NSProcessInfo isLowPowerModeEnabled"),
        ],
    );
    let source = readings.power_source.as_deref().and_then(|source| match source {
        "AC Power" => Some(PowerSource::Ac),
        "Battery Power" => Some(PowerSource::Battery),
        "UPS Power" => Some(PowerSource::Ups),
        _ => None,
    });
    probe.power_source = probe.first("power_source", [(source, "IOKit power sources")]);
    let percent = readings.battery_percent.filter(|percent| *percent <= 100).and_then(small);
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
    probe.memory_pressure =
        probe.first("memory_pressure", [(pressure, "sysctl kern.memorystatus_vm_pressure_level")]);
    let free =
        readings.int("kern.memorystatus_level").filter(|level| *level <= 100).and_then(small);
    probe.memory_free_percent =
        probe.first("memory_free_percent", [(free, "sysctl kern.memorystatus_level")]);
    if let Some(swap) = readings.swap {
        probe.swap_used_bytes = Some(swap.used);
        probe.swap_total_bytes = Some(swap.total);
        probe.sources.insert("swap_used_bytes", "sysctl vm.swapusage".to_owned());
    }
}
