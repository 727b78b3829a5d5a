//! Running MLX here: the state of this machine, what fits on it, models with the activations it runs best.

use crate::calibration::profile::Conditions;
use crate::engine::mlx::backend;
use crate::estimate::OpenedModel;
use crate::graph::Graph;
use crate::hardware::probe::Probe;
use crate::model::DType;
use anyhow::{Context as _, Result, anyhow};
use sysinfo::{MemoryRefreshKind, System};

/// Its state now, with what may disturb a timing.
pub(in crate::cli) fn conditions(probe: &Probe) -> Conditions {
    use crate::hardware::probe::{MemoryPressure, PowerSource, ThermalState};
    let mut warnings = Vec::new();
    if probe.power_mode.is_some_and(|m| m.to_string().to_lowercase().contains("low")) {
        warnings.push("low power mode is on: the GPU runs slower than it can".to_owned());
    }
    if probe.power_source == Some(PowerSource::Battery) {
        warnings.push("runs on battery".to_owned());
    }
    if !matches!(probe.thermal_state, None | Some(ThermalState::Nominal)) {
        warnings.push("the machine is hot and may be throttled".to_owned());
    }
    if !matches!(probe.memory_pressure, None | Some(MemoryPressure::Normal)) {
        warnings.push("memory is short".to_owned());
    }
    warnings.extend(probe.notes.iter().filter(|n| n.contains("virtual machine")).cloned());
    Conditions {
        macos: probe.macos.clone(),
        power_mode: probe.power_mode.map(|x| x.to_string()),
        power_source: probe.power_source.map(|x| x.to_string()),
        battery_percent: probe.battery_percent,
        thermal_state: probe.thermal_state.map(|x| x.to_string()),
        memory_pressure: probe.memory_pressure.map(|x| x.to_string()),
        warnings,
    }
}

/// The type of activations in which this machine runs models: that of the model on Metal; float32 on the CPU, whose
/// 16-bit kernels are many times slower.
pub(in crate::cli) fn activations(graph: &Graph) -> DType {
    if backend() == "metal" { graph.dtype() } else { DType::F32 }
}

/// The model with activations of the type that this machine runs best.
pub(in crate::cli) fn runnable(subject: &OpenedModel) -> Result<Graph> {
    Ok(subject.with_activations(activations(&subject.graph))?)
}

/// Bytes that may be used: what Metal recommends for the GPU, or on Linux what the system calls available.
pub(in crate::cli) fn memory_limit(probe: &Probe) -> Option<u64> {
    if let Some(limit) = &probe.gpu_limit {
        return Some(limit.bytes.0);
    }
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    Some(system.available_memory()).filter(|bytes| *bytes > 0)
}

/// The bytes that may be used, or none at all with `--force`.
pub(in crate::cli) fn allowed(probe: &Probe, force: bool) -> Result<u64> {
    match (memory_limit(probe), force) {
        (_, true) => Ok(u64::MAX),
        (Some(bytes), false) => Ok(bytes),
        (None, false) => Err(anyhow!("free memory is unknown; --force runs nevertheless"))
            .context("cannot tell whether the model fits"),
    }
}
