//! What the operating system said about this machine, before anything is concluded from it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// Operating system that the readings come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// macOS.
    Macos,
    /// Linux.
    Linux,
    /// Anything else.
    #[default]
    Other,
}

/// Value of a `sysctl` key.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SysctlValue {
    /// An integer of any width.
    Int(u64),
    /// A string.
    Text(String),
}

/// Raw readings of one machine. They serialize to JSON, so that a bug report can carry them and a test can replay them.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(default)]
pub struct Readings {
    /// Where they were taken.
    pub platform: Platform,
    /// `sysctl` keys.
    pub sysctl: BTreeMap<String, SysctlValue>,
    /// IORegistry, class `AGXAccelerator`: property `gpu-core-count`.
    pub gpu_core_count: Option<u64>,
    /// IORegistry, class `AGXAccelerator`: class of the driver, which carries the GPU generation.
    pub gpu_class: Option<String>,
    /// IORegistry, device `pmgr` or `pmgr-child`: property `voltage-states9`, the GPU's table of frequency and voltage.
    pub gpu_dvfs: Option<Vec<u8>>,
    /// Metal's default device.
    pub metal: Option<MetalReading>,
    /// `system_profiler SPHardwareDataType SPDisplaysDataType`, read only when the native path failed.
    pub profiler: Option<ProfilerReading>,
    /// `sysctl vm.swapusage`.
    pub swap: Option<SwapUsage>,
    /// Output of `pmset -g`.
    pub pmset: Option<String>,
    /// Where power comes from, as IOKit names it: `AC Power`, `Battery Power`, `UPS Power`.
    pub power_source: Option<String>,
    /// Charge of the internal battery in per cent.
    pub battery_percent: Option<u64>,
    /// `NSProcessInfo.isLowPowerModeEnabled`.
    pub low_power_mode: Option<bool>,
    /// `NSProcessInfo.thermalState`: 0 nominal, 1 fair, 2 serious, 3 critical.
    pub thermal_state: Option<u64>,
    /// Linux only.
    pub linux: Option<LinuxReading>,
    /// What could not be read, and why.
    pub failures: Vec<String>,
}

/// Properties of Metal's default device.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(default)]
pub struct MetalReading {
    /// `name`.
    pub name: Option<String>,
    /// `architecture.name` (macOS 14 and later).
    pub architecture: Option<String>,
    /// `recommendedMaxWorkingSetSize`.
    pub recommended_max_working_set: Option<Bytes>,
    /// `maxBufferLength`.
    pub max_buffer_length: Option<Bytes>,
}

/// What `system_profiler` said.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(default)]
pub struct ProfilerReading {
    /// `chip_type`.
    pub chip: Option<String>,
    /// `machine_model`.
    pub model: Option<String>,
    /// `physical_memory`.
    pub memory: Option<Bytes>,
    /// `number_processors`: `proc 16:12:4`, with one field more from macOS 26 on.
    pub processors: Option<String>,
    /// `sppci_cores` of the built-in GPU.
    pub gpu_cores: Option<u64>,
}

/// Swap space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct SwapUsage {
    /// Allocated.
    pub total: Bytes,
    /// In use.
    pub used: Bytes,
}

/// What Linux says.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(default)]
pub struct LinuxReading {
    /// `/proc/cpuinfo`.
    pub cpuinfo: String,
    /// `/proc/meminfo`.
    pub meminfo: String,
    /// `/proc/device-tree/model`, which names the Mac when Linux runs on one.
    pub device_tree_model: Option<String>,
}

impl Readings {
    /// An integer `sysctl` key.
    #[must_use]
    pub fn int(&self, key: &str) -> Option<u64> {
        match self.sysctl.get(key)? {
            SysctlValue::Int(value) => Some(*value),
            SysctlValue::Text(_) => None,
        }
    }

    /// A string `sysctl` key; empty strings count as absent.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<String> {
        match self.sysctl.get(key)? {
            SysctlValue::Int(value) => Some(value.to_string()),
            SysctlValue::Text(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        }
    }
}
