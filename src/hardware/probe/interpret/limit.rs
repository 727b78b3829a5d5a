//! The GPU memory limit: as Metal reports it, as it was set, or as it is by default.

use crate::hardware::catalog::{LimitRule, Macs, MacsError};
use crate::hardware::limits::{GpuLimit, MIB, default_limit};
use crate::hardware::probe::parse::MacosVersion;
use crate::hardware::probe::{Probe, Readings};
use crate::hardware::provenance::Provenance;
use crate::units::Bytes;

/// Releases on which the older and the newer default GPU limit were seen: up to 15, and from 26.1 on.
const OLDER_LIMIT_BEFORE: MacosVersion = MacosVersion { major: 16, minor: 0 };
const NEWER_LIMIT_FROM: MacosVersion = MacosVersion { major: 26, minor: 1 };

/// Fills in the limit and the largest buffer.
pub(super) fn read(
    probe: &mut Probe,
    readings: &Readings,
    catalog: &Macs,
) -> Result<(), MacsError> {
    let Some(memory) = probe.memory_bytes.filter(|_| probe.apple_silicon) else {
        return Ok(());
    };
    let macos = probe.macos.as_deref().and_then(MacosVersion::parse);
    let predicted = default_on(catalog, memory, probe.generation, macos)?;
    let wired_limit_mib = readings.int("iogpu.wired_limit_mb").unwrap_or(0);
    let reported = readings.metal.as_ref().and_then(|metal| metal.recommended_max_working_set);
    // What a virtual machine gets is its host's choice.
    if probe.virtual_machine == Some(true) && reported.is_none() {
        return Ok(());
    }
    let (limit, source) = match (reported, wired_limit_mib) {
        (Some(reported), _) => (
            GpuLimit::measured(reported, wired_limit_mib, predicted.default),
            "Metal recommendedMaxWorkingSetSize",
        ),
        (None, 0) => (predicted, "gpu_memory_limits.toml, by memory and macOS release"),
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
        probe.notes.push(format!("the GPU limit was set to {mib} MiB with iogpu.wired_limit_mb"));
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
    catalog: &Macs,
    memory: Bytes,
    generation: Option<u32>,
    macos: Option<MacosVersion>,
) -> Result<GpuLimit, MacsError> {
    let limits = catalog.limits()?;
    let rule = match macos {
        Some(macos) if macos < OLDER_LIMIT_BEFORE => LimitRule::Older,
        Some(macos) if macos >= NEWER_LIMIT_FROM => LimitRule::Macos26,
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
