//! The GPU of a machine as MLX sees it.

use crate::hardware::machine::Machine;
use crate::ledger::replay::Gpu;

/// The GPU of a machine as MLX sees it.
#[must_use]
pub fn gpu(machine: &Machine) -> Gpu {
    Gpu {
        class: machine.arch_class(),
        generation: machine.arch_generation(),
        nax: machine.matrix_units.value,
    }
}
