//! `mlx_lm.generate`, step by step.
//!
//! The prompt without its last token is processed in chunks, each followed by `mx.eval` of the cache (the logits of a
//! chunk are never computed); then every token is one `mx.async_eval`, issued before the previous token is waited for
//! (`generate_step` of `mlx_lm/generate.py`).

use super::sampling::{self, LeftOut, OUTSTANDING, Replayed};
use super::step::{PeakError, Phase, Step};
use super::{OnGpu, Peak};
use crate::graph::cache::{Cache, STEP, held_slots};
use crate::graph::tape::{Source, TraceError, Value};
use crate::graph::{Call, Graph, SkippedLayers};
use crate::ledger::cache::{advance, advance_singly, bytes, prefill_chunks};
use crate::ledger::replay::{ArrayId, Gpu, Original, Replay};
use crate::model::DType;
use crate::run::{Run, Work};
use crate::units::Bytes;

/// Prompts of up to this many chunks are replayed in full.
const WHOLE: usize = 8;
/// How many chunks of a longer prompt are replayed between its first two and its last three, if attention builds score
/// matrices. Their memory grows with the context only until MLX splits the work into smaller command buffers, so that
/// the most may be used in any chunk.
const BETWEEN: usize = 10;

/// Says whether a chunk is replayed, when its turn comes.
pub(super) type ChosenChunks<'a> = &'a (dyn Fn(&ReplayedProcess<'_>, usize) -> bool + Sync);

/// Which generated tokens are replayed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tokens {
    /// The first ones, and those around the last growth of a cache.
    All,
    /// The same, but none that cannot take more memory than what has been replayed already.
    Higher,
    /// None.
    No,
}

/// The peak of a generation. Of a long prompt only the first and the last chunks are replayed, and some between them:
/// MLX has finished with a chunk before the next begins, so that all a chunk needs of the earlier ones is the shapes of
/// the caches. Where attention builds score matrices, more chunks are replayed until the one that takes the most is
/// found.
///
/// # Errors
/// When the request is empty or mlx-lm could not run the model.
pub fn peak(graph: &Graph, run: &Run, gpu: Gpu) -> Result<Peak, PeakError> {
    let chunks = chunks(run);
    let quantised = run.engine.kv.is_some();
    let asked = OnGpu { run: *run, gpu };
    let mut found = generation(graph, &asked, &chunks, Tokens::Higher, &|process, next| {
        let n = chunks.len();
        let scores = quantised || process.replay.scores_at_peak() > 0;
        let between = if scores { BETWEEN } else { 1 };
        let stride = n.saturating_sub(5).div_ceil(between + 1).max(1);
        n <= WHOLE || next < 2 || next + 3 >= n || (next - 1) % stride == 0
    })?;
    while quantised || found.attention_scratch_bytes > 0 {
        let more = sampling::unsettled(&chunks, &found.steps);
        if more.is_empty() {
            break;
        }
        let among = |_: &ReplayedProcess<'_>, i| more.contains(&i);
        found = found.joined(generation(graph, &asked, &chunks, Tokens::No, &among)?);
    }
    Ok(found)
}

/// The peak of the last two chunks and the generated tokens. It is the peak of the whole generation if only the caches
/// grow with the context, as with fused attention.
///
/// # Errors
/// As [`peak`].
pub fn end(graph: &Graph, run: &Run, gpu: Gpu) -> Result<Peak, PeakError> {
    let chunks = chunks(run);
    let asked = OnGpu { run: *run, gpu };
    generation(graph, &asked, &chunks, Tokens::Higher, &|_, next| next + 2 >= chunks.len())
}

/// The peak of the last chunk of the prompt alone, for what a chunk of some length needs behind others that are known.
///
/// # Errors
/// As [`peak`].
pub fn last_chunk(graph: &Graph, run: &Run, gpu: Gpu) -> Result<Peak, PeakError> {
    let chunks = chunks(run);
    let asked = OnGpu { run: *run, gpu };
    generation(graph, &asked, &chunks, Tokens::No, &|_, next| next + 1 == chunks.len())
}

/// The peak of a generation, with every prefill chunk and the tokens around the growth of a cache replayed.
///
/// # Errors
/// As [`peak`].
pub fn full(graph: &Graph, run: &Run, gpu: Gpu) -> Result<Peak, PeakError> {
    let chunks = chunks(run);
    let asked = OnGpu { run: *run, gpu };
    generation(graph, &asked, &chunks, Tokens::All, &|_, _| true)
}

/// Tokens of the chunks in which the prompt is read before the first step that samples.
fn chunks(run: &Run) -> Vec<u32> {
    let (tokens, step) = (run.work.context_tokens, run.engine.prefill_step);
    if run.engine.whole_logits {
        // Only whole chunks: what is left is read by the step that samples.
        let whole = tokens.saturating_sub(1) / step.max(1);
        return vec![step; whole as usize];
    }
    prefill_chunks(tokens, step).collect()
}

/// Tokens that the first step that samples reads: one, or all that the chunks left, of which mlx-lm before 0.27.0 then
/// computed the logits.
fn sampled_first(run: &Run) -> u32 {
    if run.engine.whole_logits {
        run.work.context_tokens.saturating_sub(chunks(run).iter().sum()).max(1)
    } else {
        1
    }
}

/// Replays the chunks that `chosen` picks when their turn comes, and the first tokens.
///
/// Of many equal layers only some are replayed ([`sampling`]). Where that turns out to be doubtful, all are.
fn generation(
    graph: &Graph,
    asked: &OnGpu,
    chunks: &[u32],
    tokens: Tokens,
    chosen: ChosenChunks<'_>,
) -> Result<Peak, PeakError> {
    let (work, step) = (asked.run.work, asked.run.engine.prefill_step);
    if work.context_tokens == 0 || step == 0 || work.batch == 0 {
        return Err(PeakError::Request("prompt, prefill step and batch must be at least 1"));
    }
    let run =
        |skipped, left_out| replayed(graph, asked, chunks, (tokens, chosen), skipped, left_out);
    match sampling::sampled(graph, asked.gpu, &run)? {
        Some(peak) => Ok(peak),
        None => Ok(run(SkippedLayers::NONE, LeftOut::Missing)?.peak),
    }
}

/// The peak with some layers left out.
pub(super) fn replayed(
    graph: &Graph,
    asked: &OnGpu,
    chunks: &[u32],
    (tokens, chosen): (Tokens, ChosenChunks<'_>),
    skipped: SkippedLayers,
    left_out: LeftOut,
) -> Result<Replayed, PeakError> {
    let mut process = ReplayedProcess::new(graph, *asked, skipped, left_out);
    let mut done = 0;
    for (i, &tokens) in chunks.iter().enumerate() {
        if chosen(&process, i) {
            process.skip(&chunks[done..i])?;
            process.prefill(tokens)?;
            done = i + 1;
        }
        if process.behind < OUTSTANDING {
            return Ok(process.finish());
        }
    }
    if tokens == Tokens::No {
        return Ok(process.finish());
    }
    // mlx-lm issues the step after the last token before it yields that token (`generate_step`).
    let steps = asked.run.work.generate_tokens.saturating_add(1);
    let first = steps.min(3);
    let mut replayed = 0;
    // Steps follow one another: those before one that may take more are replayed too.
    while replayed < first
        && (replayed == 0
            || tokens == Tokens::All
            || (0..first - replayed).any(|ahead| process.may_peak_after(ahead)))
    {
        process.decode(replayed)?;
        replayed += 1;
    }
    if let Some(until) = process.last_growth(steps - replayed)
        && (tokens == Tokens::All || process.may_peak_later(steps))
    {
        process.settle();
        process.skip_singly(until.saturating_sub(1));
        for _ in 0..3 {
            process.decode(3)?;
        }
    }
    Ok(process.finish())
}

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
    fn new(graph: &'g Graph, asked: OnGpu, skipped: SkippedLayers, left_out: LeftOut) -> Self {
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
        let original = |&(slot, array): &(u32, ArrayId)| {
            let times = of_slot.get(slot as usize).map_or(0, |&i| times[i]);
            (times > 0).then_some(Original { array, slot, times })
        };
        self.state.iter().filter_map(original).collect()
    }

    fn note_behind(&mut self) {
        if self.stand_ins {
            self.behind = self.behind.min(self.replay.command_buffers_since_skipped());
        }
    }

    fn prefill(&mut self, tokens: u32) -> Result<(), TraceError> {
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
    fn skip(&mut self, mut calls: &[u32]) -> Result<(), TraceError> {
        let Some(&first) = calls.first() else { return Ok(()) };
        if self.context == 0 {
            // A traced call fixes the shapes.
            let (batch, kv) = (self.asked.run.work.batch, self.asked.run.engine.kv);
            let skipped = self.graph.skipped_for_counts()?;
            let call = Call { batch, kv, skipped, ..Call::prefill(first) };
            self.graph.trace(&mut self.caches, call, self.asked.gpu.routing())?;
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

    /// Whether a coming step could take more memory than the replay has seen. At most it holds the weights, every cache
    /// twice (before and after it has grown), and what three steps allocate.
    fn may_peak_later(&self, steps: u32) -> bool {
        let context = f64::from(self.context.max(1));
        let longer = (context + f64::from(steps) + f64::from(2 * STEP)) / context;
        let cache = (self.slot_bytes(true) + self.slot_bytes(false)) as f64;
        let most = self.weights as f64 + longer * (2.0 * cache + 3.0 * self.most_allocated as f64);
        most > self.replay.peak_bytes() as f64
    }

    /// The same of the step after the next `ahead` ones, in which only caches that are full then are there twice, and as
    /// new ones of at most twice the size.
    fn may_peak_after(&self, ahead: u32) -> bool {
        let context = self.context + ahead;
        let grows = |c: &Cache| c.growing_capacity().is_none_or(|all| context >= all);
        let cache = self.slot_bytes(true) + self.slot_bytes(false);
        let grown = if self.caches.iter().any(grows) { 2 * cache } else { 0 };
        self.weights + cache + grown + 3 * self.most_allocated > self.replay.peak_bytes()
    }

    /// Waits until the GPU has done everything.
    fn settle(&mut self) {
        self.replay.wait_until(0);
        self.marks.clear();
    }

    /// How many of the coming decode steps there are until the last one within `steps` in which a cache grows.
    fn last_growth(&self, steps: u32) -> Option<u32> {
        let capacity = self.caches.iter().find_map(|c| c.growing_capacity())?;
        let first = capacity.saturating_sub(self.context) + 1;
        (first <= steps).then(|| first + (steps - first) / STEP * STEP)
    }

    fn decode(&mut self, i: u32) -> Result<(), TraceError> {
        let before = self.replay.command_buffers();
        let allocated = self.replay.allocated_bytes();
        let rows = if i == 0 { sampled_first(&self.asked.run) } else { 1 };
        if i == 0 {
            // A server takes the sequences that have been read out of the batch of prompts.
            self.caches.iter_mut().for_each(|c| c.move_sequences());
        }
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
        self.note(if i == 0 { Phase::FirstToken } else { Phase::Decode }, rows, before);
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

    /// Bytes of the cache slots that hold keys and values, or of the others.
    fn slot_bytes(&self, keys: bool) -> u64 {
        let holds: Vec<bool> = self.caches.iter().flat_map(|c| c.holds_keys()).collect();
        let wanted = |slot: u32| holds.get(slot as usize) == Some(&keys);
        let arrays = self.state.iter().filter(|(slot, _)| wanted(*slot));
        self.replay.bytes_of(arrays.map(|&(_, a)| a)) + self.replay.bytes_of_stand_ins(wanted)
    }

    /// Caches of earlier prompts that are held in memory, and of sequences that generate already, each as large as those of
    /// the run at its end.
    fn kept_bytes(&self) -> u64 {
        let (run, held) = (&self.asked.run, self.asked.run.engine.held);
        let generating = u64::from(run.engine.generating);
        if held.is_none() && generating == 0 {
            return 0;
        }
        let mut caches = self.caches.clone();
        advance_singly(&mut caches, run.total_tokens().saturating_sub(self.context), run.engine.kv);
        let each = bytes(&caches) / u64::from(run.work.batch.max(1));
        held.total(Bytes(each)).0 + generating * each
    }

    fn finish(self) -> Replayed {
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
