//! The GPU of a machine as MLX sees it.

use crate::engine::programs;
use crate::hardware::machine::Machine;
use crate::ledger::replay::Gpu;
use crate::run::{EngineSetup, MatrixUnits, Tiles, Version};

/// The GPU of a machine as the MLX of an engine sees it.
#[must_use]
pub fn gpu(machine: &Machine, engine: &EngineSetup) -> Gpu {
    on_mlx(machine, engine, engine.mlx.taken)
}

/// The GPU of a machine as a version of MLX sees it, with the other settings of an engine.
pub(super) fn on_mlx(machine: &Machine, engine: &EngineSetup, mlx: Version) -> Gpu {
    Gpu {
        class: machine.arch_class(),
        generation: machine.arch_generation(),
        nax: uses_matrix_units(machine, engine, mlx),
        mlx,
        tiled: engine.tiles != Tiles::Never,
    }
}

/// Whether MLX uses the matrix units of a GPU: it has some, and MLX and macOS are recent enough. Of a macOS that is not
/// known, that is taken for granted.
#[must_use]
pub fn uses_matrix_units(machine: &Machine, engine: &EngineSetup, mlx: Version) -> bool {
    let there = machine.matrix_units.value;
    match engine.matrix_units {
        MatrixUnits::On => there,
        MatrixUnits::Off => false,
        MatrixUnits::Auto => there && programs::may_use_matrix_units(mlx, engine.macos),
    }
}
