//! A context below which every prompt fits, whatever its last chunk.
//!
//! A longer prompt may need less than a shorter one: a last chunk of a thousand rows may have no fused kernel where a
//! whole chunk has, and one of many rows may hold less than one of few, because MLX then commits more often. For every one
//! of some lengths of the last chunk, the least number of whole chunks before it that does not fit ends the context; where
//! scores are built, among the shorter last chunks after as many, which need hardly less.

use super::context::surely_fits;
use super::ends::{Ends, PromptEnd};
use super::{ContextBound, MaxContext};
use crate::ledger::peak::{Peak, PeakError};
use crate::units::Bytes;
use rayon::prelude::*;

/// Rows of a last chunk that are tried: around the least rows of fused kernels, and between.
const ROWS: [u32; 9] = [1023, 512, 2047, 1536, 1024, 768, 256, 64, 8];
/// Those that suffice where no chunk builds scores.
const FUSED: usize = 3;
/// Rows between two last chunks that are tried where one with scores does not fit.
const ROWS_APART: u32 = 64;

/// What MLX may take.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes that the peak may reach.
    pub peak: Bytes,
    /// Bytes of the largest buffer.
    pub buffer: Bytes,
}

impl Room {
    fn holds(self, end: PromptEnd) -> bool {
        end.peak <= self.peak.0 && end.largest_buffer <= self.buffer.0
    }

    /// Whether there is room for twice what an end needs beside weights and cache.
    fn is_ample(self, end: PromptEnd) -> bool {
        end.peak + end.beyond <= self.peak.0 && end.largest_buffer <= self.buffer.0
    }
}

/// The longest context up to `found` below which every prompt fits, given the peak of the run itself.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn below(
    ends: &Ends<'_>,
    room: Room,
    known: &Peak,
    found: MaxContext,
) -> Result<MaxContext, PeakError> {
    let search = Search { ends, room, step: ends.run.engine.prefill_step.max(1) };
    let mut tokens = found.tokens;
    let own = tokens.saturating_sub(ends.run.work.generate_tokens + 1) % search.step;
    let end = ends.known_at(tokens);
    let mut builds_scores = ends.run.engine.kv.is_some() || end.is_some_and(|e| e.builds_scores);
    let mut ample = search.is_ample(end, known, tokens)?;
    let holds = end.is_some_and(|e| room.holds(e));
    if builds_scores && !ample {
        search.look_ahead(tokens)?;
    }
    for (i, rows) in ROWS.into_iter().chain([own]).enumerate() {
        // Chunks differ by less than what ample room leaves, and fused ones by less than those with scores.
        let differs = i == 0 || (!ample && (builds_scores || i < FUSED || rows == own));
        // The end of what was found has a last chunk too.
        let is_known = i == ROWS.len() && holds && tokens == found.tokens;
        // Any last chunk of a prompt that is read at once is all of it.
        if rows >= search.step || !differs || is_known {
            continue;
        }
        let (until, last) = search.until(rows, tokens)?;
        builds_scores |= last.is_some_and(|end| end.builds_scores);
        ample &= last.is_none_or(|end| room.is_ample(end));
        tokens = until;
    }
    let bound = if tokens < found.tokens { ContextBound::Memory } else { found.bound };
    Ok(MaxContext { tokens, bound })
}

struct Search<'e, 'a> {
    ends: &'e Ends<'a>,
    room: Room,
    step: u32,
}

impl Search<'_, '_> {
    /// Replays side by side what is looked at first for each length of the last chunk. Most of it fits, so that little
    /// is replayed in vain.
    fn look_ahead(&self, most: u32) -> Result<(), PeakError> {
        let rows = ROWS.into_iter().filter(|&rows| rows < self.step);
        let prompts: Vec<u32> = rows
            .filter_map(|rows| Some(self.chunks_before(rows, most)? * self.step + rows + 1))
            .collect();
        prompts.par_iter().try_for_each(|&prompt| self.ends.last_chunk(prompt).map(drop))
    }

    /// The most whole chunks before a last one of `rows` within a context of `most` tokens.
    fn chunks_before(&self, rows: u32, most: u32) -> Option<u32> {
        // The last token of a prompt is read by itself.
        Some(most.checked_sub(rows + 1 + self.ends.run.work.generate_tokens)? / self.step)
    }

    /// Whether a context leaves ample room, by its end where that was replayed, else by a bound.
    fn is_ample(
        &self,
        end: Option<PromptEnd>,
        known: &Peak,
        tokens: u32,
    ) -> Result<bool, PeakError> {
        let Some(end) = end else {
            // No buffer of a cache takes more than half of it: keys and values have one each.
            let buffer = known.largest_buffer_bytes.max(self.ends.growth.bytes(tokens)? / 2);
            let fits = surely_fits(self.ends, known, tokens, self.room.peak)?;
            return Ok(fits && buffer <= self.room.buffer.0);
        };
        Ok(self.room.is_ample(end))
    }

    /// The longest context up to `most` below which no prompt with a last chunk of `rows` exceeds the room, and the
    /// longest such chunk, if there is one.
    fn until(&self, rows: u32, most: u32) -> Result<(u32, Option<PromptEnd>), PeakError> {
        let (step, generate) = (self.step, self.ends.run.work.generate_tokens);
        let rest = rows + 1;
        let Some(most_chunks) = self.chunks_before(rows, most) else { return Ok((most, None)) };
        let at = |chunks: u32, rest: u32| self.ends.last_chunk(chunks * step + rest);
        let (mut least, mut high) = (0, most_chunks);
        let last = at(high, rest)?;
        if self.room.holds(last) {
            return Ok((most, Some(last)));
        }
        let mut beyond = last;
        while least < high {
            let middle = least.midpoint(high);
            let end = at(middle, rest)?;
            if self.room.holds(end) {
                least = middle + 1;
            } else {
                (high, beyond) = (middle, end);
            }
        }
        // Scores grow with the rows; without them a row adds little.
        let (mut fits, mut exceeds) = (if beyond.builds_scores { 0 } else { rows }, rest);
        while exceeds > fits + ROWS_APART {
            let middle = fits.midpoint(exceeds);
            if self.room.holds(at(high, middle)?) {
                fits = middle;
            } else {
                exceeds = middle;
            }
        }
        Ok((high * step + fits + generate, Some(last)))
    }
}
