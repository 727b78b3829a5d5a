//! The GPU of a machine as MLX sees it.

use crate::hardware::machine::Machine;
use crate::ledger::replay::{ArchClass, Gpu};

/// The GPU of a machine as MLX sees it.
#[must_use]
pub fn gpu(machine: &Machine) -> Gpu {
    Gpu {
        class: match machine.arch_class() {
            'p' => ArchClass::Phone,
            'g' => ArchClass::Base,
            'd' => ArchClass::Ultra,
            _ => ArchClass::Max,
        },
        generation: machine.arch_generation(),
        nax: machine.matrix_units.value,
    }
}
