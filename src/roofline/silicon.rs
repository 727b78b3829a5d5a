//! The figures of a machine that speed depends on.

use crate::hardware::Machine;
use crate::hardware::catalogue::Chip;
use crate::hardware::tier::Tier;

/// A GPU and its memory, reduced to what speed depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Silicon {
    /// Bandwidth of the memory bus, bytes per second.
    pub bandwidth: f64,
    /// GPU cores.
    pub cores: f64,
    /// GPU clock in GHz.
    pub ghz: f64,
    /// Family number: 4 for M4.
    pub generation: u32,
    /// Tier within the family.
    pub tier: Tier,
    /// Whether the GPU has matrix units.
    pub matrix_units: bool,
    /// Whether the Mac is known to have no fan.
    pub fanless: bool,
}

impl Silicon {
    /// The figures of a machine.
    #[must_use]
    pub fn of(machine: &Machine) -> Self {
        Self {
            bandwidth: machine.bus_bandwidth.value.0,
            cores: f64::from(machine.gpu_cores.value),
            ghz: f64::from(machine.gpu_clock_mhz.value) / 1e3,
            generation: machine.generation.value,
            tier: machine.tier.value,
            matrix_units: machine.matrix_units.value,
            fanless: machine.fanless == Some(true),
        }
    }

    /// The figures of a bin with this much memory; its advertised bandwidth can depend on it.
    #[must_use]
    pub fn of_chip(chip: &Chip, memory_gib: Option<u64>) -> Self {
        let memory = memory_gib.or_else(|| chip.memory_gib.first().copied()).unwrap_or(0);
        Self {
            bandwidth: chip.bus_bandwidth(memory).value.0,
            cores: f64::from(chip.gpu_cores),
            ghz: f64::from(chip.gpu_clock_mhz) / 1e3,
            generation: chip.generation,
            tier: chip.tier,
            matrix_units: chip.matrix_units,
            fanless: false,
        }
    }

    /// GPU cores times clock, in GHz.
    #[must_use]
    pub fn core_ghz(&self) -> f64 {
        self.cores * self.ghz
    }

    /// Half-precision peak in operations per second: of the matrix units where there are any, else of the shaders
    /// (1024 and 256 operations per core and clock, [`crate::hardware::Machine::matrix_flops`]).
    #[must_use]
    pub fn peak_flops(&self) -> f64 {
        self.core_ghz() * 1e9 * if self.matrix_units { 1024.0 } else { 256.0 }
    }
}
