//! The figures of a machine that speed depends on.

use crate::hardware::Machine;
use crate::hardware::catalog::Chip;
use crate::hardware::machine::{FLOP_PER_CORE_CLOCK, MATRIX_FLOP_PER_CORE_CLOCK};
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

    /// The shaders of a GPU, for its peak of arithmetic.
    #[must_use]
    pub const fn shaders(cores: f64, ghz: f64) -> Self {
        Self {
            bandwidth: 0.0,
            cores,
            ghz,
            generation: 0,
            tier: Tier::Base,
            matrix_units: false,
            fanless: false,
        }
    }

    /// GPU cores times clock, in GHz.
    #[must_use]
    pub fn core_ghz(&self) -> f64 {
        self.cores * self.ghz
    }

    /// Half-precision peak in operations per second: of the matrix units where there are any, else of the shaders, where
    /// it is that of single precision too.
    #[must_use]
    pub fn peak_flops(&self) -> f64 {
        let per_core_clock =
            if self.matrix_units { MATRIX_FLOP_PER_CORE_CLOCK } else { FLOP_PER_CORE_CLOCK };
        self.core_ghz() * 1e9 * per_core_clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Macs;

    #[test]
    fn peaks_follow_cores_and_clock() {
        let catalog = Macs::embedded();
        let chip = |name| catalog.chip(name).expect("readable").expect("known");
        let m4 = Silicon::of_chip(chip("m4max-40"), Some(128));
        assert!(!m4.matrix_units);
        assert!((m4.peak_flops() / 1e12 - 16.16).abs() < 0.01);
        let m6 = Silicon::of_chip(chip("m6-12"), Some(32));
        assert!(m6.matrix_units);
        assert!((m6.peak_flops() / 1e12 - 21.3).abs() < 0.05);
    }
}
