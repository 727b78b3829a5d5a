//! Whether an answer would be another with other versions that are met.

use super::gpu::{on_mlx, uses_matrix_units};
use super::warning::Warning;
use super::{Estimator, Memory};
use crate::engine::programs::Engines;
use crate::hardware::machine::Machine;
use crate::ledger::peak::PeakError;
use crate::run::{EngineSetup, MatrixUnits, Version};
use crate::units::Bytes;

impl Estimator<'_> {
    /// What to say where the peak of another supported version of MLX, or without matrix units, lies outside the interval.
    pub(super) fn other_versions(
        &self,
        machine: &Machine,
        memory: &Memory,
    ) -> Result<Vec<Warning>, PeakError> {
        let engine = &self.run().engine;
        if engine.program.runs_gguf() {
            return Ok(Vec::new());
        }
        let [low, high] = memory.peak_interval_90;
        let outside = |peak: Bytes| peak < low || peak > high;
        let mut all = Vec::new();
        if let Some(range) = supported(engine) {
            let mut found: Vec<(Version, Bytes)> = Vec::new();
            for gpu in self.gpus(machine, range)? {
                found.push((gpu.mlx, Bytes(self.peak(gpu)?.peak_bytes)));
            }
            let furthest = found.into_iter().filter(|(_, peak)| outside(*peak));
            let expected = memory.peak.peak_bytes;
            if let Some((mlx, peak)) = furthest.max_by_key(|(_, p)| p.0.abs_diff(expected)) {
                all.push(Warning::OtherMlx { mlx, peak });
            }
        }
        let assumed = engine.matrix_units == MatrixUnits::Auto && engine.macos.is_none();
        if assumed && uses_matrix_units(machine, engine, engine.mlx.taken) {
            let off = EngineSetup { matrix_units: MatrixUnits::Off, ..*engine };
            let peak = Bytes(self.peak(on_mlx(machine, &off, engine.mlx.taken))?.peak_bytes);
            if outside(peak) {
                all.push(Warning::WithoutMatrixUnits(peak));
            }
        }
        Ok(all)
    }
}

/// The versions of MLX that are met with a program; where they are not known, those that are met with mlx-lm.
fn supported(engine: &EngineSetup) -> Option<[Version; 2]> {
    let all = Engines::embedded().ok()?;
    let row = all.row(engine.program)?;
    let usual = all.get(&all.default.engine)?;
    let oldest = row.mlx_min.or(usual.mlx_min)?.0;
    let newest = row.mlx_max.map_or_else(|| all.newest_mlx(), |release| release.0);
    Some([oldest.min(newest), newest])
}
