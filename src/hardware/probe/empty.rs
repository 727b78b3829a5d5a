//! A probe in which nothing is known.

use super::{Probe, Readings};
use std::collections::BTreeMap;

/// A probe in which nothing is known.
pub(super) fn empty(readings: &Readings) -> Probe {
    Probe {
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
