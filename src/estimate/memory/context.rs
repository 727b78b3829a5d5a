//! The longest context that fits, solved from the peak.
//!
//! From chunk to chunk the peak grows linearly with the length, so that the search guesses a length between two whose
//! peaks are known, simulates it, and guesses again. Only certain lengths are tried, the same ones whatever the memory:
//! more memory then never gives less context.

use super::chunks::WholeChunks;
use super::default_reserve;
use super::ends::{Ends, PromptEnd};
use crate::graph::cache::STEP;
use crate::hardware::cap::CapKind;
use crate::hardware::machine::Machine;
use crate::ledger::peak::{Peak, PeakError};
use crate::ledger::weights::Weights;
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// The longest context, and what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct MaxContext {
    /// Tokens of a sequence, prompt and generated ones together; 0 when not even one token fits.
    pub tokens: u32,
    /// What ends it.
    pub bound: ContextBound,
}

/// What ends the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ContextBound {
    /// The length that the model was made for.
    Model,
    /// Memory.
    Memory,
    /// Nothing that mlxplan knows of: the cache stops growing, and the model states no length.
    None,
}

/// Longest context that is searched.
const LONGEST: u32 = 1 << 24;
/// Guesses between two lengths of known peak; what is left then is halved.
const GUESSES: u32 = 6;

/// Bytes that MLX's peak may reach: the GPU limit, or memory less the reserve and the Python process.
#[must_use]
pub fn budget(machine: &Machine, reserve: Option<Bytes>) -> Bytes {
    let memory = machine.memory.value;
    let reserve = reserve.unwrap_or_else(|| default_reserve(memory));
    let [low, high] = super::RUNTIME_BYTES;
    let rest = process_budget(machine, memory.saturating_sub(reserve));
    let rest = rest.saturating_sub(Bytes((low + high) / 2));
    machine.gpu_limit.bytes.min(rest)
}

/// Bytes that the process may take, of those that are free.
fn process_budget(machine: &Machine, free: Bytes) -> Bytes {
    let granted = machine.budget.map_or(free, |budget| budget.min(free));
    match machine.cap_bytes() {
        Some((cap, _, [least, _])) if cap.kind != CapKind::Waits => granted.min(least),
        _ => granted,
    }
}

/// What of a limit may be needed without being called tight.
#[must_use]
pub fn roomy(limit: Bytes) -> Bytes {
    Bytes((super::limits::TIGHT * limit.0 as f64) as u64)
}

/// Bytes that the expected peak may reach for the whole interval around it to stay under the lowest limit, with so much
/// room that nobody calls it tight.
#[must_use]
pub fn safe_budget(machine: &Machine, reserve: Option<Bytes>) -> Bytes {
    let memory = machine.memory.value;
    let reserve = reserve.unwrap_or_else(|| default_reserve(memory));
    let [_, high] = super::RUNTIME_BYTES;
    let rest = roomy(process_budget(machine, memory.saturating_sub(reserve)));
    let rest = rest.saturating_sub(Bytes(high));
    super::interval::peak_below(roomy(machine.gpu_limit.range[0]).min(rest))
}

/// The longest context whose peak stays within a number of bytes. `known` is the peak of the request itself, where it
/// has been simulated; it saves work when memory is plentiful.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn within(
    ends: &Ends<'_>,
    budget: Bytes,
    known: Option<&Peak>,
) -> Result<MaxContext, PeakError> {
    let made_for = ends.graph.max_context().and_then(|n| u32::try_from(n).ok());
    let top = made_for.unwrap_or(LONGEST).clamp(1, LONGEST);
    let search = Search { ends, budget: budget.0 };
    let whole = MaxContext {
        tokens: top,
        bound: if made_for.is_some() { ContextBound::Model } else { ContextBound::None },
    };
    if let Some(peak) = known
        && surely_fits(ends, peak, top, budget)?
    {
        return Ok(whole);
    }
    let at_top = match search.surely_exceeds(top, known)? {
        Some(peak) => estimated(peak),
        None => ends.at(top)?,
    };
    if at_top.peak <= search.budget && search.whole_fits(top, at_top)? {
        return Ok(whole);
    }
    Ok(MaxContext { tokens: search.run(top, at_top, known)?, bound: ContextBound::Memory })
}

/// The longest context whose peak stays within `budget`, given the longest one within a larger budget. The search starts
/// below that one, so that it simulates little.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn within_less(
    ends: &Ends<'_>,
    budget: Bytes,
    (known, longer, larger): (&Peak, MaxContext, Bytes),
) -> Result<MaxContext, PeakError> {
    if longer.bound != ContextBound::Memory || larger <= budget {
        return within(ends, budget, Some(known));
    }
    let search = Search { ends, budget: budget.0 };
    // The next length does not even fit the larger budget.
    let at_next = estimated(larger.0.saturating_add(1));
    let tokens = search.run(length(cell(longer.tokens) + 1), at_next, Some(known))?;
    Ok(MaxContext { tokens, bound: ContextBound::Memory })
}

/// An end that is not replayed.
const fn estimated(peak: u64) -> PromptEnd {
    PromptEnd { peak, beyond: 0, largest_buffer: 0, builds_scores: false, command_buffers: 0 }
}

/// Whether `total` tokens fit a number of bytes by a bound that needs no simulation, given the peak of the run itself: a
/// cache is copied when it grows, so that it may be there twice, and what else comes on top of weights and cache is the
/// same at any length, or, where attention builds scores, grows with it. Twice that leaves room for the rest.
pub(super) fn surely_fits(
    ends: &Ends<'_>,
    known: &Peak,
    total: u32,
    budget: Bytes,
) -> Result<bool, PeakError> {
    let (work, engine) = (ends.run.work, ends.run.engine);
    let beside = known.weights_bytes + known.kept_bytes;
    let rest = known.peak_bytes.saturating_sub(beside) as f64;
    let longer = f64::from(total) / f64::from(work.context_tokens.max(1));
    let grows = if known.attention_scratch_bytes > 0 { longer.max(1.0) } else { 1.0 };
    let cache = ends.growth.bytes(total)?;
    let (cache, kept) = (cache as f64, ends.kept(cache) as f64);
    let most = known.weights_bytes as f64 + 2.0 * cache + 2.0 * rest * grows + kept;
    // A quantized cache is not fused, but only from thousands of tokens on: then the request tells nothing.
    let telling = engine.kv.is_none() && work.context_tokens > engine.prefill_step;
    Ok(telling && most <= budget.0 as f64)
}

struct Search<'e, 'a> {
    ends: &'e Ends<'a>,
    budget: u64,
}

impl Search<'_, '_> {
    /// An estimate of the peak at `total` tokens where weights and cache alone exceed the memory: what comes on top of
    /// them is at least what it is in the request.
    fn surely_exceeds(&self, total: u32, known: Option<&Peak>) -> Result<Option<u64>, PeakError> {
        let Some(known) = known else { return Ok(None) };
        let cache = self.ends.growth.bytes(total)?;
        let least = known.weights_bytes + cache + self.ends.kept(cache);
        let rest = known.attention_scratch_bytes + known.run_ahead_bytes;
        Ok((least > self.budget).then_some(least + rest))
    }

    /// Whether the whole generation fits, given that its end does: only where attention builds scores may it peak
    /// elsewhere, a little higher, and twice what is neither weights nor cache is more than that.
    fn whole_fits(&self, total: u32, end: PromptEnd) -> Result<bool, PeakError> {
        if !end.builds_scores || end.peak + end.beyond <= self.budget {
            return Ok(true);
        }
        let whole = WholeChunks { ends: self.ends, budget: self.budget, most: 2 * end.beyond };
        whole.fit(self.chunks_until(total))
    }

    /// Whether a generation that ends at the length of a cell fits, its end included.
    fn fits(&self, c: u32) -> Result<bool, PeakError> {
        let end = self.ends.at(length(c))?;
        Ok(end.peak <= self.budget && self.whole_fits(length(c), end)?)
    }

    /// The largest cell up to `c` whose whole generation fits, given that its end does. Where the whole peaks higher
    /// than its end it is a little higher, so that few steps suffice.
    fn verified(&self, c: u32, end: PromptEnd) -> Result<u32, PeakError> {
        if c == 0 || self.whole_fits(length(c), end)? {
            return Ok(c);
        }
        let mut even = (c - 1) & !1;
        while even > 0 && !self.fits(even)? {
            even -= 2;
        }
        let odd = even + 1;
        Ok(if odd < c && self.fits(odd)? { odd } else { even })
    }

    /// Whole chunks of a prompt that ends at the length of a cell.
    fn whole_chunks(&self, c: u32) -> u32 {
        self.chunks_until(length(c))
    }

    /// Whole chunks of the prompt of a generation that ends at `total` tokens.
    fn chunks_until(&self, total: u32) -> u32 {
        let prompt = self.ends.ending_at(total).work.context_tokens;
        prompt.saturating_sub(1) / self.ends.run.engine.prefill_step.max(1)
    }

    /// The first cell with `chunks` whole chunks or more.
    fn first_with(&self, chunks: u32) -> u32 {
        if chunks == 0 {
            return 1;
        }
        let prompt = chunks.saturating_mul(self.ends.run.engine.prefill_step).saturating_add(1);
        cell(prompt.saturating_add(self.ends.run.work.generate_tokens).saturating_sub(1)) + 1
    }

    /// The first cell after `c` with more whole chunks.
    fn next_group(&self, c: u32) -> u32 {
        if c == 0 { 1 } else { self.first_with(self.whole_chunks(c) + 1).max(c + 1) }
    }

    /// The length at which a peak that grows evenly between two known ones would reach the budget. A length has a cell,
    /// tokens and a peak.
    fn guess(&self, low: (u32, u32, u64), high: (u32, u32, u64)) -> u32 {
        let share =
            self.budget.saturating_sub(low.2) as f64 / high.2.saturating_sub(low.2).max(1) as f64;
        (f64::from(low.1) + share * f64::from(high.1.saturating_sub(low.1))) as u32
    }

    /// The largest length below `top`, which does not fit, whose peak fits.
    ///
    /// The tokens after the last whole chunk may need more than a chunk or next to nothing, and more of them can need
    /// less, because MLX then commits more often. Lengths that exceed a number of whole chunks by the least are alike in
    /// this, and their peaks grow linearly: a guess between one that fits and one that does not comes close at once. What
    /// lies between two such lengths is halved at the same places whatever the memory.
    fn run(&self, top: u32, at_top: PromptEnd, known: Option<&Peak>) -> Result<u32, PeakError> {
        let mut high = (cell(top.saturating_sub(1)) + 1, top, at_top.peak);
        let mut low = (0, 0, Weights::of(self.ends.graph).active_bytes);
        // What was asked for fits, whatever lies before it.
        let mut least = 0;
        if let Some(known) = known.filter(|p| p.peak_bytes <= self.budget) {
            let total = self.ends.run.total_tokens().min(top - 1);
            least = cell(total);
            let first = self.first_with(self.whole_chunks(least)).min(least);
            low = (first, total, known.peak_bytes);
        }
        let mut end = at_top;
        for probe in 0.. {
            let next = self.next_group(low.0);
            if next >= high.0 {
                break;
            }
            let guess =
                if probe < GUESSES { cell(self.guess(low, high)) } else { low.0.midpoint(high.0) };
            let guess = self.first_with(self.whole_chunks(guess)).clamp(next, high.0 - 1);
            let found = self.ends.at(length(guess))?;
            if found.peak <= self.budget {
                end = found;
                low = (guess, length(guess), found.peak);
                let next = self.next_group(guess);
                let now = self.ends.growth.bytes(length(guess))?;
                let then = self.ends.growth.bytes(length(next))?;
                let kept = self.ends.kept(then).saturating_sub(self.ends.kept(now));
                let grown = then.saturating_sub(now) + kept;
                if next < high.0 && found.peak + grown > self.budget {
                    high = (next, length(next), found.peak + grown);
                }
            } else {
                high = (guess, length(guess), found.peak);
            }
        }
        // Where no prompt is read in chunks, all is the growth of caches, and a guess comes as close as among the groups.
        let generated = self.whole_chunks(high.0.saturating_sub(1)) == 0;
        for probe in 0.. {
            if high.0 <= low.0 + 1 {
                break;
            }
            let middle = if generated && probe < GUESSES {
                cell(self.guess(low, high)).clamp(low.0 + 1, high.0 - 1)
            } else {
                low.0.midpoint(high.0)
            };
            let found = self.ends.at(length(middle))?;
            if found.peak <= self.budget {
                (low, end) = ((middle, length(middle), found.peak), found);
            } else {
                high = (middle, length(middle), found.peak);
            }
        }
        Ok(length(self.verified(low.0.max(least), end)?))
    }
}

/// Lengths that are tried: every 256th up to 32768, because caches grow in such steps, and from there on 128 in every
/// doubling.
fn length(cell: u32) -> u32 {
    let doublings = (cell / CELLS).saturating_sub(1);
    let within = cell - doublings * CELLS;
    within * (STEP << doublings)
}

/// The cell whose length is the longest of at most `tokens`, or of at most [`FURTHEST`].
fn cell(tokens: u32) -> u32 {
    let tokens = tokens.min(FURTHEST);
    let mut doublings = 0;
    while tokens >= (2 * CELLS * STEP) << doublings {
        doublings += 1;
    }
    tokens / (STEP << doublings) + doublings * CELLS
}

/// No length beyond this one has a cell of its own: far more than is searched, and its doubling still fits 32 bits.
const FURTHEST: u32 = 1 << 30;
/// Cells of a doubling.
const CELLS: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cover_all_lengths() {
        assert_eq!(
            [0, 1, 128, 129, 255, 256, 257].map(length),
            [0, 256, 32_768, 33_024, 65_280, 65_536, 66_048]
        );
        for c in 0..1500 {
            assert_eq!((cell(length(c)), cell(length(c + 1) - 1)), (c, c), "cell {c}");
        }
        assert_eq!(cell(LONGEST), cell(LONGEST - 1) + 1);
    }

    #[test]
    fn a_length_beyond_all_searched_ones_has_a_cell() {
        for tokens in [FURTHEST + 1, 1 << 31, u32::MAX] {
            assert_eq!(cell(tokens), cell(FURTHEST), "{tokens} tokens");
        }
    }
}
