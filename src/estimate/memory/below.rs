//! A context below which every prompt fits, whatever its last chunk.
//!
//! A longer prompt may need less than a shorter one: a last chunk of a thousand rows may have no fused kernel where a
//! whole chunk has, and one of many rows may hold less than one of few, because MLX then commits more often. For every one
//! of some lengths of the last chunk, the least number of whole chunks before it that does not fit ends the context.

use super::{ContextBound, MaxContext};
use crate::graph::Graph;
use crate::ledger::peak::{self, Peak, PeakError};
use crate::ledger::replay::Gpu;
use crate::run::Run;
use crate::units::Bytes;

/// Rows of a last chunk that are tried: around the least rows of fused kernels, and between.
const ROWS: [u32; 9] = [1023, 512, 2047, 1536, 1024, 768, 256, 64, 8];
/// Those that suffice where no chunk builds scores.
const FUSED: usize = 3;

/// What MLX may take.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes that the peak may reach.
    pub peak: Bytes,
    /// Bytes of the largest buffer.
    pub buffer: Bytes,
}

impl Room {
    fn holds(self, peak: &Peak) -> bool {
        peak.peak_bytes <= self.peak.0 && peak.largest_buffer_bytes <= self.buffer.0
    }
}

/// The longest context up to `found` below which every prompt fits.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn below(
    graph: &Graph,
    run: &Run,
    gpu: Gpu,
    room: Room,
    found: MaxContext,
) -> Result<MaxContext, PeakError> {
    let search = Search { graph, run, gpu, room, step: run.engine.prefill_step.max(1) };
    let mut tokens = found.tokens;
    let own = tokens.saturating_sub(run.work.generate_tokens + 1) % search.step;
    let mut builds_scores = run.engine.kv.is_some();
    for (i, rows) in ROWS.into_iter().chain([own]).enumerate() {
        // Any last chunk of a prompt that is read at once is all of it.
        if rows >= search.step || (i >= FUSED && !builds_scores && rows != own) {
            continue;
        }
        let (until, scores) = search.until(rows, tokens)?;
        builds_scores |= scores;
        tokens = until;
    }
    let bound = if tokens < found.tokens { ContextBound::Memory } else { found.bound };
    Ok(MaxContext { tokens, bound })
}

struct Search<'a> {
    graph: &'a Graph,
    run: &'a Run,
    gpu: Gpu,
    room: Room,
    step: u32,
}

impl Search<'_> {
    /// The longest context up to `most` below which no prompt with a last chunk of `rows` exceeds the room, and whether
    /// such a chunk builds scores.
    fn until(&self, rows: u32, most: u32) -> Result<(u32, bool), PeakError> {
        let beside = rows + 1 + self.run.work.generate_tokens;
        let Some(rest) = most.checked_sub(beside) else { return Ok((most, false)) };
        let at = |chunks: u32| -> Result<Peak, PeakError> {
            let prompt = chunks * self.step + rows + 1;
            peak::end(self.graph, &self.run.with_context(prompt), self.gpu)
        };
        let (mut least, mut high) = (0, rest / self.step);
        let last = at(high)?;
        let scores = last.attention_scratch_bytes > 0;
        if self.room.holds(&last) {
            return Ok((most, scores));
        }
        while least < high {
            let middle = least.midpoint(high);
            if self.room.holds(&at(middle)?) {
                least = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(((high * self.step + beside).saturating_sub(1), scores))
    }
}
