//! Whether the chunks before the end of a prompt fit.
//!
//! Score matrices grow with the context, and memory with them, as long as every chunk takes the same number of command
//! buffers. When a chunk takes one more, its operations are spread over more buffers, each holds less, and memory drops.
//! So the chunk that takes the most may be any before such a change: the changes are enclosed by halving, but only
//! between chunks that could come to exceed what there is.

use super::ends::{Ends, PromptEnd};
use crate::ledger::peak::PeakError;
use crate::ledger::weights::Weights;

/// The whole chunks of a prompt, in the order in which they are read.
pub(super) struct WholeChunks<'e, 'a> {
    /// The run.
    pub ends: &'e Ends<'a>,
    /// Bytes that the peak may reach.
    pub budget: u64,
    /// Bytes that no chunk needs more of beside weights and caches.
    pub most: u64,
}

/// A chunk that was replayed.
#[derive(Clone, Copy)]
struct Chunk {
    number: u32,
    end: PromptEnd,
}

impl WholeChunks<'_, '_> {
    /// Whether the first `count` chunks fit, given that the last of them does.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn fit(&self, count: u32) -> Result<bool, PeakError> {
        let Some(last) = count.checked_sub(1) else { return Ok(true) };
        let (first, last) = (self.chunk(0)?, self.chunk(last)?);
        Ok(self.holds(first) && self.fit_between(first, last)?)
    }

    fn chunk(&self, number: u32) -> Result<Chunk, PeakError> {
        // The last token of a prompt is read by itself.
        let end = self.ends.last_chunk(self.tokens(number) + 1)?;
        Ok(Chunk { number, end })
    }

    /// Tokens in the cache after a chunk.
    fn tokens(&self, number: u32) -> u32 {
        number.saturating_add(1).saturating_mul(self.ends.run.engine.prefill_step.max(1))
    }

    fn holds(&self, chunk: Chunk) -> bool {
        chunk.end.peak <= self.budget
    }

    /// Whether the chunks between two fit, given that both do.
    fn fit_between(&self, before: Chunk, after: Chunk) -> Result<bool, PeakError> {
        let settled = before.end.command_buffers == after.end.command_buffers;
        if settled || after.number - before.number <= 1 || self.surely_fit(before, after)? {
            return Ok(true);
        }
        let middle = self.chunk(before.number.midpoint(after.number))?;
        if !self.holds(middle) {
            return Ok(false);
        }
        let (earlier, later) =
            rayon::join(|| self.fit_between(before, middle), || self.fit_between(middle, after));
        Ok(earlier? && later?)
    }

    /// Whether the chunks between two fit by a bound: none needs more beside weights and caches than the first would if
    /// that grew with the context without another command buffer.
    fn surely_fit(&self, before: Chunk, after: Chunk) -> Result<bool, PeakError> {
        let [from, to] = [before, after].map(|chunk| self.tokens(chunk.number));
        let grown = before.end.beyond as f64 * f64::from(to) / f64::from(from);
        let beyond =
            if before.end.builds_scores { grown.min(self.most as f64) } else { self.most as f64 };
        let cache = self.ends.growth.bytes(to)?;
        let rest = Weights::of(self.ends.graph).active_bytes + cache + self.ends.kept(cache);
        Ok(rest as f64 + beyond <= self.budget as f64)
    }
}
