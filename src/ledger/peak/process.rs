//! A process that generates with mlx-lm, replayed.

use super::sampling::{LeftOut, OUTSTANDING, Replayed};
use super::step::{Phase, Step};
use super::{OnGpu, Peak};
use crate::graph::cache::{Cache, STEP, held_slots};
use crate::graph::tape::{Source, TraceError, Value};
use crate::graph::{Call, Graph, SkippedLayers};
use crate::ledger::cache::{advance, advance_singly, bytes};
use crate::ledger::replay::{ArrayId, Original, Replay};
use crate::model::DType;
use crate::run::{JOINING, Work};
use crate::units::Bytes;

/// A process that has loaded a model and calls it step by step.
pub(super) struct ReplayedProcess<'g> {
    graph: &'g Graph,
    asked: OnGpu,
    skipped: SkippedLayers,
    /// Whether the caches of skipped layers are counted, as doubles of those like them.
    stand_ins: bool,
    /// The fewest command buffers that the layers behind the skipped ones have filled in a call. If they are few, some
    /// that are under way would be of skipped layers.
    behind: u32,
    replay: Replay<'static>,
    caches: Vec<Cache>,
    /// Arrays that the cache slots hold.
    state: Vec<(u32, ArrayId)>,
    tokens: ArrayId,
    results: Vec<ArrayId>,
    /// Command buffers committed after each decode step.
    marks: Vec<u32>,
    context: u32,
    weights: u64,
    /// Most bytes that one decode step allocated.
    most_allocated: u64,
    steps: Vec<Step>,
    worst: Option<Step>,
}

impl<'g> ReplayedProcess<'g> {
    pub fn new(graph: &'g Graph, asked: OnGpu, skipped: SkippedLayers, left_out: LeftOut) -> Self {
        let mut replay = Replay::new(graph, asked.gpu);
        let weights = replay.active_bytes();
        replay.follow_recycled();
        let Work { batch, context_tokens, .. } = asked.run.work;
        let shape = [batch, context_tokens].into();
        let tokens = replay.held(Value { shape, dtype: DType::I32, source: Source::Tokens });
        let mut caches = graph.make_cache();
        if asked.run.pads_sequences() {
            caches.iter_mut().for_each(|c| c.pad(batch));
        }
        Self {
            graph,
            asked,
            stand_ins: left_out == LeftOut::Doubled && !skipped.is_empty(),
            skipped,
            behind: u32::MAX,
            replay,
            caches,
            state: Vec::new(),
            tokens,
            results: Vec::new(),
            marks: Vec::new(),
            context: 0,
            weights,
            most_allocated: 0,
            steps: Vec::new(),
            worst: None,
        }
    }

    /// The fewest command buffers that the layers behind the skipped ones have filled in a call.
    pub const fn behind(&self) -> u32 {
        self.behind
    }

    /// Whether there were attention scores in memory at the peak.
    pub fn has_scores_at_peak(&self) -> bool {
        self.replay.scores_at_peak() > 0
    }

    fn call(&mut self, tokens: u32, sample: bool) -> Result<Vec<ArrayId>, TraceError> {
        let (batch, kv) = (self.asked.run.work.batch, self.asked.run.engine.kv);
        let call = Call { batch, tokens, sample, kv, skipped: self.skipped.clone() };
        let routing = self.asked.gpu.routing();
        let trace = self.graph.trace(&mut self.caches, call, routing)?;
        let (results, state) = self.replay.load(trace, self.tokens, &self.state);
        for (_, old) in std::mem::replace(&mut self.state, state) {
            self.replay.release(old);
        }
        if self.stand_ins {
            let originals = self.originals();
            self.replay.stand_in(self.skipped.end(), originals);
        }
        self.context += tokens;
        Ok(results)
    }

    /// The arrays of caches that are counted for skipped layers as well, and for how many.
    fn originals(&self) -> Vec<Original> {
        let mut of_slot = Vec::new();
        for (i, cache) in self.caches.iter().enumerate() {
            of_slot.extend(std::iter::repeat_n(i, cache.slots().len()));
        }
        let mut times = vec![0; self.caches.len()];
        for i in 0..self.caches.len() {
            if self.skipped.skips_cache(i) {
                times[self.skipped.cache_like(i)] += 1;
            }
        }
        let holds_keys: Vec<bool> = self.caches.iter().flat_map(|c| c.holds_keys()).collect();
        // Layers without an indexer of their own read what one before them chose.
        let slots = |cache: &Cache| cache.slots().len();
        let alike = self.caches.windows(2).all(|pair| slots(&pair[0]) == slots(&pair[1]));
        let original = |&(slot, array): &(u32, ArrayId)| {
            let times = of_slot.get(slot as usize).map_or(0, |&i| times[i]);
            let keys = alike && holds_keys.get(slot as usize) == Some(&true);
            (times > 0).then_some(Original { array, slot, times, keys })
        };
        self.state.iter().filter_map(original).collect()
    }

    fn note_behind(&mut self) {
        if self.stand_ins {
            self.behind = self.behind.min(self.replay.command_buffers_since_skipped());
        }
    }

    pub fn prefill(&mut self, tokens: u32) -> Result<(), TraceError> {
        let before = self.replay.command_buffers();
        self.call(tokens, false)?;
        let arrays: Vec<ArrayId> = self.state.iter().map(|&(_, a)| a).collect();
        self.replay.evaluate(&arrays, true);
        self.note_behind();
        self.replay.clear_recycled();
        self.note(Phase::Prefill, tokens, before);
        let mut keep: Vec<ArrayId> = std::iter::once(self.tokens).chain(arrays).collect();
        self.replay.compact(&mut keep);
        self.tokens = keep[0];
        for (slot, kept) in self.state.iter_mut().zip(&keep[1..]) {
            slot.1 = *kept;
        }
        Ok(())
    }

    /// Moves the caches on by calls that are not replayed. Their arrays are new ones of the size that the calls would
    /// leave.
    pub fn skip(&mut self, mut calls: &[u32]) -> Result<(), TraceError> {
        let Some(&first) = calls.first() else { return Ok(()) };
        if self.context == 0 {
            // A traced call fixes the shapes.
            let (batch, kv) = (self.asked.run.work.batch, self.asked.run.engine.kv);
            let skipped = self.graph.skipped_for_counts()?;
            let call = Call { batch, kv, skipped, ..Call::prefill(first) };
            if self.asked.run.pads_sequences() {
                self.graph.trace(&mut self.caches, call, self.asked.gpu.routing())?;
            } else {
                self.caches = self.graph.caches_after(&call)?;
            }
            self.context = first;
            calls = &calls[1..];
        }
        advance(&mut self.caches, calls, self.asked.run.engine.kv);
        self.moved_on(calls.iter().sum());
        Ok(())
    }

    /// Moves the cache of a process that has been called on by calls of one token that are not replayed.
    fn skip_singly(&mut self, calls: u32) {
        if calls > 0 {
            advance_singly(&mut self.caches, calls, self.asked.run.engine.kv);
            self.moved_on(calls);
        }
    }

    /// Gives caches that were moved on new dense arrays.
    fn moved_on(&mut self, tokens: u32) {
        self.context += tokens;
        for (_, old) in std::mem::take(&mut self.state) {
            self.replay.release(old);
        }
        for (slot, s) in held_slots(&self.caches, &self.skipped) {
            let value = Value { shape: s.shape, dtype: s.dtype, source: Source::Cache(slot) };
            self.state.push((slot, self.replay.held(value)));
        }
        if self.stand_ins {
            let originals = self.originals();
            self.replay.stand_in_now(originals);
        }
        self.replay.clear_recycled();
    }

    /// Whether a decode step fills so few command buffers that the step before is still under way. That step reads the
    /// caches, so that they are copied instead of being written to, and a copy is held as long as its original.
    fn copies_caches(&self) -> bool {
        self.steps.last().is_some_and(|s| s.command_buffers < OUTSTANDING)
    }

    /// Whether a coming step could take more memory than the replay has seen. At most it holds the weights, every cache
    /// twice (before and after it has grown) or three times (where each step copies it), and what three steps allocate.
    pub fn may_peak_later(&self, steps: u32) -> bool {
        let context = f64::from(self.context.max(1));
        let longer = (context + f64::from(steps) + f64::from(2 * STEP)) / context;
        let caches = self.cache_bytes() as f64 * if self.copies_caches() { 3.0 } else { 2.0 };
        let most = self.weights as f64 + longer * (caches + 3.0 * self.most_allocated as f64);
        most > self.replay.peak_bytes() as f64
    }

    /// The same of the step after the next `ahead` ones. A cache that is full or packed by then has a new version, of at
    /// most twice the size.
    pub fn may_peak_after(&self, ahead: u32) -> bool {
        let context = self.context + ahead;
        let grows = |c: &Cache| c.growing_capacity().is_none_or(|all| context >= all);
        let kv = self.asked.run.engine.kv;
        let packs = kv.is_some_and(|q| (context..=context + 1).contains(&q.start));
        let changes = packs || self.caches.iter().any(grows);
        let cache = self.cache_bytes();
        let version = if changes { 2 * cache } else { cache };
        let versions = match (self.copies_caches(), changes) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        };
        let most = self.weights + cache + versions * version + 3 * self.most_allocated;
        most > self.replay.peak_bytes()
    }

    /// Of the next `steps` decode steps, replays those around the last growth of a cache; where caches are packed in one
    /// of them, also those around that and around the last growth before it.
    pub fn decode_later(&mut self, steps: u32) -> Result<(), TraceError> {
        let end = self.context.saturating_add(steps);
        let kv = self.asked.run.engine.kv;
        if let Some(q) = kv.filter(|q| (self.context + 1..=end).contains(&q.start)) {
            let packing = q.start - 1;
            if let Some(growth) = self.last_growth(packing) {
                self.decode_from(growth, end)?;
            }
            self.decode_from(packing, end)?;
        }
        match self.last_growth(end) {
            Some(growth) => self.decode_from(growth, end),
            None => Ok(()),
        }
    }

    /// Tokens in the cache before the last step that makes one grow and that leaves at most `end`.
    fn last_growth(&self, end: u32) -> Option<u32> {
        let capacity = self.caches.iter().find_map(|c| c.growing_capacity())?;
        let first = capacity.max(self.context);
        let steps = end.checked_sub(first + 1)?;
        Some(first + steps / STEP * STEP)
    }

    /// Replays three steps from one that finds so many tokens in the cache, but none behind `end`.
    fn decode_from(&mut self, context: u32, end: u32) -> Result<(), TraceError> {
        let Some(skipped) = context.checked_sub(self.context) else { return Ok(()) };
        // Waits until the GPU has done everything.
        self.replay.wait_until(0);
        self.marks.clear();
        self.skip_singly(skipped);
        for _ in 0..(end - context).min(3) {
            self.decode()?;
        }
        Ok(())
    }

    /// The step that reads what is left of the prompt and samples the first token. A server takes the sequences that have
    /// been read out of the batch of prompts.
    pub fn first_token(&mut self, rows: u32) -> Result<(), TraceError> {
        self.caches.iter_mut().for_each(|c| c.move_sequences());
        self.sample(Phase::FirstToken, rows)
    }

    /// The step of a later token.
    pub fn decode(&mut self) -> Result<(), TraceError> {
        self.sample(Phase::Decode, 1)
    }

    fn sample(&mut self, phase: Phase, rows: u32) -> Result<(), TraceError> {
        let before = self.replay.command_buffers();
        let allocated = self.replay.allocated_bytes();
        let results = self.call(rows, true)?;
        self.replay.evaluate(&results, false);
        self.most_allocated = self.most_allocated.max(self.replay.allocated_bytes() - allocated);
        self.note_behind();
        self.marks.push(self.replay.command_buffers());
        if let [.., previous, last] = self.marks[..] {
            self.replay.wait_until((last - previous) as usize);
        }
        for old in std::mem::replace(&mut self.results, results.clone()) {
            self.replay.release(old);
        }
        self.tokens = results[0];
        self.note(phase, rows, before);
        Ok(())
    }

    fn note(&mut self, phase: Phase, tokens: u32, before: u32) {
        let step = Step {
            phase,
            tokens,
            context_tokens: self.context,
            peak_bytes: self.replay.peak_bytes(),
            kv_bytes: self.slot_bytes(true),
            state_bytes: self.slot_bytes(false),
            scores_bytes: self.replay.scores_at_peak(),
            command_buffers: self.replay.command_buffers() - before,
        };
        if self.worst.is_none_or(|w| step.peak_bytes > w.peak_bytes) {
            self.worst = Some(step);
        }
        self.steps.push(step);
    }

    /// Bytes of all cache slots.
    fn cache_bytes(&self) -> u64 {
        self.slot_bytes(true) + self.slot_bytes(false)
    }

    /// Bytes of the cache slots that hold keys and values, or of the others.
    fn slot_bytes(&self, keys: bool) -> u64 {
        let holds: Vec<bool> = self.caches.iter().flat_map(|c| c.holds_keys()).collect();
        let wanted = |slot: u32| holds.get(slot as usize) == Some(&keys);
        let arrays = self.state.iter().filter(|(slot, _)| wanted(*slot));
        self.replay.bytes_of(arrays.map(|&(_, a)| a)) + self.replay.bytes_of_stand_ins(wanted)
    }

    /// Caches of earlier prompts that are held in memory, and of sequences that generate already, each as large as those of
    /// the run at its end; the latter twice, because a sequence that joins them copies them.
    fn kept_bytes(&self) -> u64 {
        let (run, held) = (&self.asked.run, self.asked.run.engine.held);
        let generating = u64::from(run.engine.generating);
        if held.is_none() && generating == 0 {
            return 0;
        }
        let mut caches = self.caches.clone();
        advance_singly(&mut caches, run.total_tokens().saturating_sub(self.context), run.engine.kv);
        let each = bytes(&caches) / u64::from(run.work.batch.max(1));
        held.total(Bytes(each)).0 + JOINING * generating * each
    }

    pub fn finish(self) -> Replayed {
        let (weights, kept) = (self.weights, self.kept_bytes());
        let mut peak = Peak {
            peak_bytes: weights,
            weights_bytes: weights,
            kv_bytes: 0,
            state_bytes: 0,
            attention_scratch_bytes: 0,
            run_ahead_bytes: 0,
            kept_bytes: kept,
            largest_buffer_bytes: self.replay.largest_buffer(),
            resident_bytes: self.replay.resident_peak().unwrap_or(weights),
            phase: Phase::FirstToken,
            context_tokens: 0,
            steps: self.steps,
        };
        if let Some(w) = self.worst {
            let cache = w.kv_bytes + w.state_bytes;
            let rest = w.peak_bytes.saturating_sub(weights + cache);
            peak.peak_bytes = w.peak_bytes;
            peak.kv_bytes = w.kv_bytes;
            peak.state_bytes = w.state_bytes;
            peak.attention_scratch_bytes = w.scores_bytes.min(rest);
            peak.run_ahead_bytes = rest - peak.attention_scratch_bytes;
            peak.phase = w.phase;
            peak.context_tokens = w.context_tokens;
        }
        peak.peak_bytes += kept;
        peak.resident_bytes += kept;
        Replayed { peak, behind: self.behind }
    }
}
