//! Ends of prompts of one run on one kind of GPU, each replayed once.

use crate::graph::Graph;
use crate::ledger::cache::CacheGrowth;
use crate::ledger::peak::{self, Peak, PeakError, Phase};
use crate::ledger::replay::Gpu;
use crate::run::{JOINING, Run};
use crate::units::Bytes;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

/// What the replay of an end shows.
#[derive(Clone, Copy, Debug)]
pub struct PromptEnd {
    /// Its peak, bytes.
    pub peak: u64,
    /// What of it is neither weights nor cache, bytes.
    pub beyond: u64,
    /// The largest single buffer, bytes.
    pub largest_buffer: u64,
    /// Whether attention builds scores.
    pub builds_scores: bool,
    /// Command buffers of the last chunk.
    pub command_buffers: u32,
}

impl From<&Peak> for PromptEnd {
    fn from(peak: &Peak) -> Self {
        let chunk = peak.steps.iter().rfind(|s| s.phase == Phase::Prefill);
        Self {
            peak: peak.peak_bytes,
            beyond: peak.attention_scratch_bytes + peak.run_ahead_bytes,
            largest_buffer: peak.largest_buffer_bytes,
            builds_scores: peak.attention_scratch_bytes > 0,
            command_buffers: chunk.map_or(0, |s| s.command_buffers),
        }
    }
}

/// What of an end is replayed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    /// The last whole chunk, what is left of the prompt, and the generated tokens.
    Whole,
    /// The last chunk alone.
    LastChunk,
}

/// What is replayed, and tokens of the prompt and generated ones.
type Key = (Part, [u32; 2]);

/// The ends of prompts of any length that a run may have on a kind of GPU.
pub struct Ends<'a> {
    /// The graph of the model.
    pub graph: &'a Graph,
    /// The run; its own prompt means nothing here.
    pub run: Run,
    /// The GPU.
    pub gpu: Gpu,
    /// Sizes of the caches by length.
    pub growth: CacheGrowth<'a>,
    known: Mutex<HashMap<Key, PromptEnd>>,
}

impl<'a> Ends<'a> {
    /// Of a run on a GPU.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn of(graph: &'a Graph, run: &Run, gpu: Gpu) -> Result<Self, PeakError> {
        let growth =
            CacheGrowth::of(graph, run.engine.prefill_step, run.work.batch, run.engine.kv)?;
        Ok(Self { graph, run: *run, gpu, growth, known: Mutex::default() })
    }

    /// Caches that are in memory beside those of the run, where these take so many bytes.
    #[must_use]
    pub fn kept(&self, cache: u64) -> u64 {
        let (engine, batch) = (&self.run.engine, self.run.work.batch.max(1));
        let each = cache / u64::from(batch);
        engine.held.total(Bytes(each)).0 + JOINING * u64::from(engine.generating) * each
    }

    /// The run with a prompt that makes it end at `total` tokens.
    #[must_use]
    pub fn ending_at(&self, total: u32) -> Run {
        let generate = self.run.work.generate_tokens.min(total.saturating_sub(1)).max(1);
        let prompt = total.saturating_sub(generate).max(1);
        self.run.with_context(prompt).with_generated(generate)
    }

    /// The end of a generation that ends at `total` tokens. The last whole chunk is replayed as well as what comes after
    /// it, so that a longer context never needs less.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn at(&self, total: u32) -> Result<PromptEnd, PeakError> {
        let run = self.ending_at(total);
        self.replayed(Part::Whole, &run, || peak::end(self.graph, &run, self.gpu))
    }

    /// The same, if it has been replayed.
    #[must_use]
    pub fn known_at(&self, total: u32) -> Option<PromptEnd> {
        let key = (Part::Whole, lengths(&self.ending_at(total)));
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }

    /// The last chunk of a prompt.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn last_chunk(&self, prompt: u32) -> Result<PromptEnd, PeakError> {
        let run = self.run.with_context(prompt);
        self.replayed(Part::LastChunk, &run, || peak::last_chunk(self.graph, &run, self.gpu))
    }

    fn replayed(
        &self,
        part: Part,
        run: &Run,
        replay: impl FnOnce() -> Result<Peak, PeakError>,
    ) -> Result<PromptEnd, PeakError> {
        let key = (part, lengths(run));
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = known().get(&key) {
            return Ok(*end);
        }
        let end = PromptEnd::from(&replay()?);
        Ok(match known().entry(key) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(free) => *free.insert(end),
        })
    }
}

fn lengths(run: &Run) -> [u32; 2] {
    [run.work.context_tokens, run.work.generate_tokens]
}
