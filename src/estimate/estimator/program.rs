//! What a program does otherwise than a run says, for the model that it runs.

use super::Estimator;
use crate::engine::programs;
use crate::estimate::gpu::{on_mlx, uses_matrix_units};
use crate::graph::Graph;
use crate::graph::cache::KvQuantization;
use crate::graph::towers::Loader;
use crate::hardware::machine::Machine;
use crate::ledger::peak::PeakError;
use crate::ledger::replay::Gpu;
use crate::run::{EngineSetup, Run, Tiles, Version};

/// The run as its program does it: with its chunk for models that it loads with towers, and its cache quantized from the
/// token on from which it does.
pub(super) fn as_its_program(run: Run, graph: &Graph) -> Run {
    let seen = graph.loader() == Loader::MlxVlm;
    let step = run.engine.step_with_towers.filter(|_| seen);
    let run = step.map_or(run, |step| run.with_prefill_step(step));
    let start = run.engine.kv_start;
    let from = |kv: KvQuantization| KvQuantization { start: start.unwrap_or(kv.start), ..kv };
    run.with_kv(run.engine.kv.map(from))
}

impl Estimator<'_> {
    /// The GPU of a machine as those versions of MLX within a range see it that run the attention of the model
    /// differently; none where the range is one version.
    pub(in crate::estimate) fn gpus(
        &self,
        machine: &Machine,
        range: [Version; 2],
    ) -> Result<Vec<Gpu>, PeakError> {
        let engine = &self.run.engine;
        let perhaps = engine.tiles == Tiles::Perhaps;
        if (range[0] == range[1] && !perhaps) || engine.program.runs_gguf() {
            return Ok(Vec::new());
        }
        let heads = self.graph().attention_heads()?;
        let units = uses_matrix_units(machine, engine, range[1]);
        let versions = programs::changes(range, units, heads);
        let ways: &[Tiles] = if perhaps { &[Tiles::Always, Tiles::Never] } else { &[engine.tiles] };
        let on = |(mlx, tiles)| on_mlx(machine, &EngineSetup { tiles, ..*engine }, mlx);
        let all = ways.iter().flat_map(|&tiles| versions.iter().map(move |&mlx| (mlx, tiles)));
        Ok(all.map(on).collect())
    }
}
