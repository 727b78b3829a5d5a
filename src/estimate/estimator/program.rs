//! What a program does otherwise than a run says, for the model that it runs.

use super::Estimator;
use crate::engine::programs::{self, Engines};
use crate::estimate::gpu::{on_mlx, uses_matrix_units};
use crate::estimate::memory::{RUNTIME_BYTES, interval_90};
use crate::graph::Graph;
use crate::graph::cache::KvQuantization;
use crate::graph::towers::Loader;
use crate::hardware::machine::Machine;
use crate::ledger::peak::{self, PeakError};
use crate::ledger::replay::Gpu;
use crate::run::{EngineSetup, Run, Tiles, Version};
use crate::units::Bytes;

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

/// A chunk that a program falls back to near its own limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::estimate) struct SmallerChunk {
    /// Its tokens.
    pub tokens: u32,
    /// The peak with it.
    pub peak: Bytes,
}

impl Estimator<'_> {
    /// The smallest chunk that the program falls back to where a peak comes so near to its own limit; `None` where it does
    /// not, or the program never does.
    pub(in crate::estimate) fn near_guard(
        &self,
        machine: &Machine,
        peak: Bytes,
    ) -> Result<Option<SmallerChunk>, PeakError> {
        let engine = &self.run.engine;
        let row = Engines::embedded().ok().and_then(|all| all.row(engine.program));
        let Some((share, row)) = row.and_then(|r| Some((r.prefill_step_shrinks_at?, r))) else {
            return Ok(None);
        };
        let Some((_, _, [limit, _])) = machine.cap_bytes() else { return Ok(None) };
        let smaller = row.prefill_step_shrinks_to.iter().copied();
        let smallest = smaller.filter(|&step| step < engine.prefill_step).min();
        let clear = peak + Bytes(RUNTIME_BYTES[1]) <= Bytes((share * limit.0 as f64) as u64);
        let Some(tokens) = smallest.filter(|_| !clear) else { return Ok(None) };
        let run = self.run.with_prefill_step(tokens).in_memory();
        let found = peak::peak(self.graph(), &run, self.gpu(machine))?;
        Ok(Some(SmallerChunk { tokens, peak: Bytes(found.peak_bytes) }))
    }

    /// An interval of peaks that begins with that of smaller chunks, where the program falls back to them.
    pub(super) fn with_smaller_chunks(
        &self,
        machine: &Machine,
        [low, high]: [Bytes; 2],
    ) -> Result<[Bytes; 2], PeakError> {
        let smaller = self.near_guard(machine, interval_90(high)[1])?;
        Ok([smaller.map_or(low, |s| low.min(s.peak)), high])
    }
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
