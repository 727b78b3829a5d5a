//! `mlx_lm.generate`, step by step.
//!
//! The prompt without its last token is processed in chunks, each followed by `mx.eval` of the cache (the logits of a
//! chunk are never computed); then every token is one `mx.async_eval`, issued before the previous token is waited for
//! (`generate_step` of `mlx_lm/generate.py`).

use super::process::ReplayedProcess;
use super::sampling::{self, LeftOut, OUTSTANDING, Replayed};
use super::step::PeakError;
use super::{OnGpu, Peak};
use crate::graph::{Graph, SkippedLayers};
use crate::ledger::cache::prefill_chunks;
use crate::ledger::replay::Gpu;
use crate::run::Run;

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
    let quantized = run.engine.kv.is_some();
    let asked = OnGpu { run: *run, gpu };
    let mut found = generation(graph, &asked, &chunks, Tokens::Higher, &|process, next| {
        let n = chunks.len();
        let scores = quantized || process.has_scores_at_peak();
        let between = if scores { BETWEEN } else { 1 };
        let stride = n.saturating_sub(5).div_ceil(between + 1).max(1);
        n <= WHOLE || next < 2 || next + 3 >= n || (next - 1) % stride == 0
    })?;
    while quantized || found.attention_scratch_bytes > 0 {
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
        if process.behind() < OUTSTANDING {
            return Ok(process.finish());
        }
    }
    if tokens == Tokens::No {
        return Ok(process.finish());
    }
    // mlx-lm issues the step after the last token before it yields that token (`generate_step`).
    let steps = asked.run.work.generate_tokens.saturating_add(1);
    let first = steps.min(3);
    process.first_token(sampled_first(&asked.run))?;
    let mut replayed = 1;
    // Steps follow one another: those before one that may take more are replayed too.
    while replayed < first
        && (tokens == Tokens::All
            || (0..first - replayed).any(|ahead| process.may_peak_after(ahead)))
    {
        process.decode()?;
        replayed += 1;
    }
    if tokens == Tokens::All || process.may_peak_later(steps) {
        process.decode_later(steps - replayed)?;
    }
    Ok(process.finish())
}
