//! Peaks from some of the layers.
//!
//! Most models repeat one layer dozens of times, and a replay that leaves most of them out is much faster. There are
//! two cases.
//!
//! Usually MLX works through the layers in order and has at most a dozen command buffers under way. What is in memory
//! at the worst moment then belongs to a few neighboring layers, and the first and the last ones show it ([`sampled`]).
//!
//! Recurrent states are needed only by the next call, so MLX computes them at the end of this one, for all layers. What
//! is in memory then grows with the number of layers: it is measured with few layers and carried on to all
//! ([`extended`]).

use super::Peak;
use super::step::{PeakError, Phase, Step};
use crate::graph::cache::CacheKind;
use crate::graph::pattern::{LayerPlan, Repeat};
use crate::graph::{Graph, SkippedLayers};
use crate::ledger::cache::states_only;
use crate::ledger::replay::Gpu;

/// How layers that are left out count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// Their caches take memory: each is counted as a double of the cache of a layer like it that is replayed.
    Doubled,
    /// Not at all, as if the model had only the layers that are replayed.
    Missing,
}

/// What a replay found.
pub(super) struct Replayed {
    /// The peak.
    pub peak: Peak,
    /// The fewest command buffers that the layers behind the skipped ones filled in a call. A replay in which they are
    /// too few to be sure of the peak is not gone on with.
    pub behind: u32,
}

/// Command buffers that the layers behind the skipped ones must fill. MLX has fewer under way at any time, so that none
/// of these would be one of a skipped layer when the call ends.
pub(super) const OUTSTANDING: u32 = 12;
/// Layers that are always replayed: at the start, and at the end where the memory grows with the number of layers.
const FIRST: usize = 2;
const LAST: usize = 3;

/// The peak from a replay of some of the layers; `None` where all must be replayed.
pub(super) fn sampled(
    graph: &Graph,
    gpu: Gpu,
    run: &(impl Fn(SkippedLayers, LeftOut) -> Result<Replayed, PeakError> + Sync),
) -> Result<Option<Peak>, PeakError> {
    if puts_off_states(graph) {
        return extended(graph, |skipped| Ok(run(skipped, LeftOut::Missing)?.peak));
    }
    let plan = graph.layer_plan()?;
    // A replay that leaves out less than a fifth of all layers is not worthwhile.
    let longest = plan.longest(FIRST, layers_behind(plan, gpu));
    let Some(repeat) = longest.filter(|r| r.layers() * 5 >= plan.len()) else { return Ok(None) };
    let found = run(plan.without(&[repeat]), LeftOut::Doubled)?;
    Ok((found.behind >= OUTSTANDING).then_some(found.peak))
}

/// How many layers are replayed behind the skipped ones, from an estimate of the command buffers that a layer fills;
/// whether they were enough is checked by the replay itself.
fn layers_behind(plan: &LayerPlan, gpu: Gpu) -> usize {
    let (kernels, elements) = gpu.limits();
    let (operations, bound) = plan.mean_layer();
    // About six of ten operations launch a kernel; the others are views.
    let by_kernels = 0.6 * operations / f64::from(kernels);
    let by_elements = bound / f64::from(1 << 20) / elements as f64;
    // A command buffer that is full by its kernels overshoots little, one that is full by its elements by a matrix.
    let per_layer = by_kernels.max(by_elements / 1.5).min(6.0);
    (f64::from(OUTSTANDING) / per_layer).ceil().min(1e6) as usize + 2
}

/// Whether MLX computes something at the end of a call for all layers: recurrent states, which only the next call
/// needs.
fn puts_off_states(graph: &Graph) -> bool {
    graph.cache_kinds().iter().any(|k| matches!(k, CacheKind::Arrays(_)))
}

/// Whether recurrent states are all that MLX computes at the end of a call. In models whose layers have several caches
/// it leaves some keys to the end too, but not in every layer, so that memory does not grow evenly.
fn states_alone(graph: &Graph) -> bool {
    use CacheKind::{Arrays, Kv, Rotating};
    graph.cache_kinds().iter().all(|k| matches!(k, Kv | Rotating { .. } | Arrays(_)))
}

/// The peak of a model with recurrent states. Every repetition of its pattern of layers adds the same memory, so three
/// replays are made, each with one repetition more than the one before. If the third lies on the line through the first
/// two, the line is followed to the full number of layers. `None` if it does not, or if a replay of all layers is as
/// fast.
fn extended(
    graph: &Graph,
    run: impl Fn(SkippedLayers) -> Result<Peak, PeakError> + Sync,
) -> Result<Option<Peak>, PeakError> {
    if !states_alone(graph) {
        return Ok(None);
    }
    let plan = graph.layer_plan()?;
    if states_only(graph)
        && let Some((found, least)) = extrapolated(plan, plan.longest(1, 1), &run)?
        && least >= OUTSTANDING
    {
        return Ok(Some(found));
    }
    Ok(extrapolated(plan, plan.longest(FIRST, LAST), &run)?.map(|(found, _)| found))
}

/// The peak on the line through replays with ever fewer layers left out, and the fewest command buffers that one
/// repetition of the pattern fills in a prefill call.
fn extrapolated(
    plan: &LayerPlan,
    repeat: Option<Repeat>,
    run: &(impl Fn(SkippedLayers) -> Result<Peak, PeakError> + Sync),
) -> Result<Option<(Peak, u32)>, PeakError> {
    let Some(repeat) = repeat else { return Ok(None) };
    let shortened = [0, 1, 2].map(|patterns| repeat.shortened(patterns));
    let cost: usize = shortened.iter().map(|r| plan.len() - r.layers()).sum();
    if repeat.patterns() <= 2 || cost >= plan.len() {
        return Ok(None);
    }
    let all_skipped = shortened.map(|r| plan.without(&[r]));
    let [first, second, third] = all_skipped;
    let ((first, second), third) =
        rayon::join(|| rayon::join(|| run(first), || run(second)), || run(third));
    let (first, second, third) = (first?, second?, third?);
    let expected = first.extended(&second, 2.0);
    let near = |a: u64, b: u64| a.abs_diff(b) as f64 <= 1e-5 * b as f64;
    let linear = expected.is_some_and(|e| {
        near(e.peak_bytes, third.peak_bytes)
            && near(e.resident_bytes, third.resident_bytes)
            && e.phase == third.phase
    });
    if !linear {
        return Ok(None);
    }
    let pairs = second.steps.iter().zip(&third.steps).filter(|(s, _)| s.phase == Phase::Prefill);
    let least = pairs.map(|(s, t)| t.command_buffers.saturating_sub(s.command_buffers)).min();
    let patterns = repeat.patterns() as f64;
    Ok(second.extended(&third, patterns - 1.0).map(|found| (found, least.unwrap_or(0))))
}

/// The chunks of a prompt that must be replayed as well, besides those in `steps`, to find the one that takes the most
/// memory. None when it has been found.
///
/// Score matrices grow with the context, and memory with them, as long as every chunk takes the same number of command
/// buffers. When a chunk takes one more, its operations are spread over more buffers, each holds less, and memory
/// drops. The chunk that takes the most is therefore the last of all, or the last before the number of command buffers
/// changes. Between two replayed chunks with different numbers there is such a change: it is found by halving.
pub(super) fn unsettled(chunks: &[u32], steps: &[Step]) -> Vec<usize> {
    let mut context = 0;
    let ends = chunks.iter().map(|n| {
        context += n;
        context
    });
    let mut replayed = steps.iter().filter(|s| s.phase == Phase::Prefill).peekable();
    let mut known = Vec::new();
    for (i, end) in ends.enumerate() {
        if let Some(step) = replayed.next_if(|s| s.context_tokens == end) {
            known.push((i, step.command_buffers));
        }
    }
    known
        .windows(2)
        .filter_map(|pair| match *pair {
            [(a, before), (b, after)] if before != after && b - a > 1 => Some(a.midpoint(b)),
            _ => None,
        })
        .collect()
}

impl Peak {
    /// One peak from two replays of the same generation that covered different chunks.
    pub(super) fn joined(self, other: Self) -> Self {
        let (mut high, low) =
            if other.peak_bytes > self.peak_bytes { (other, self) } else { (self, other) };
        high.largest_buffer_bytes = high.largest_buffer_bytes.max(low.largest_buffer_bytes);
        high.resident_bytes = high.resident_bytes.max(low.resident_bytes);
        high.steps.extend(low.steps);
        high.steps.sort_by_key(|s| s.context_tokens);
        let mut highest = (0, 0);
        for step in &mut high.steps {
            highest = highest.max((step.peak_bytes, step.scores_bytes));
            (step.peak_bytes, step.scores_bytes) = highest;
        }
        high
    }

    /// The peak on the line through this one and `next`, which is that of a model with one repetition of the pattern
    /// more: the result has `units` repetitions more than this one. `None` where the two peaks are of different steps.
    fn extended(&self, next: &Self, units: f64) -> Option<Self> {
        let to =
            |a: u64, b: u64| (a as f64 + (b as f64 - a as f64) * units).round().max(0.0) as u64;
        let same = (self.phase, self.context_tokens) == (next.phase, next.context_tokens);
        if !same || self.steps.len() != next.steps.len() {
            return None;
        }
        let steps = self.steps.iter().zip(&next.steps).map(|(a, b)| Step {
            peak_bytes: to(a.peak_bytes, b.peak_bytes),
            kv_bytes: to(a.kv_bytes, b.kv_bytes),
            state_bytes: to(a.state_bytes, b.state_bytes),
            scores_bytes: to(a.scores_bytes, b.scores_bytes),
            command_buffers: to(a.command_buffers.into(), b.command_buffers.into()) as u32,
            ..*a
        });
        Some(Self {
            peak_bytes: to(self.peak_bytes, next.peak_bytes),
            weights_bytes: to(self.weights_bytes, next.weights_bytes),
            kv_bytes: to(self.kv_bytes, next.kv_bytes),
            state_bytes: to(self.state_bytes, next.state_bytes),
            attention_scratch_bytes: to(self.attention_scratch_bytes, next.attention_scratch_bytes),
            run_ahead_bytes: to(self.run_ahead_bytes, next.run_ahead_bytes),
            kept_bytes: to(self.kept_bytes, next.kept_bytes),
            largest_buffer_bytes: self.largest_buffer_bytes.max(next.largest_buffer_bytes),
            resident_bytes: to(self.resident_bytes, next.resident_bytes),
            phase: self.phase,
            context_tokens: self.context_tokens,
            steps: steps.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::peak::OnGpu;
    use crate::ledger::peak::process::ReplayedProcess;
    use crate::ledger::peak::run::{self, Tokens};
    use crate::ledger::replay::ArchClass;
    use crate::model::catalog::Models;
    use crate::model::{Config, Scheme};
    use crate::run::Run;
    use rayon::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn changes_of_command_buffers_are_enclosed() {
        let chunks = [512; 9];
        let step = |(chunk, command_buffers): (u32, u32)| Step {
            phase: Phase::Prefill,
            tokens: 512,
            context_tokens: 512 * (chunk + 1),
            peak_bytes: 0,
            kv_bytes: 0,
            state_bytes: 0,
            scores_bytes: 0,
            command_buffers,
        };
        let more = |known: &[(u32, u32)]| {
            unsettled(&chunks, &known.iter().copied().map(step).collect::<Vec<_>>())
        };
        assert_eq!(more(&[(0, 9), (4, 28), (8, 28)]), [2]);
        assert_eq!(more(&[(0, 9), (2, 28), (4, 28), (8, 28)]), [1]);
        assert!(more(&[(0, 9), (1, 28), (2, 28), (4, 28), (8, 28)]).is_empty());
    }

    /// Layers left out change next to nothing, in a model of every type that is listed and on every sort of GPU.
    #[test]
    fn skipped_layers_change_no_peak() {
        let catalog = Models::built_in().expect("built in");
        let mut types = BTreeMap::new();
        for model in catalog.models() {
            let entry = model.entry().expect("readable");
            let name = entry.config.model_type().expect("named").to_owned();
            // Some models are known by name only.
            let new = !types.contains_key(&name);
            if new && Graph::quantized(&entry.config, Scheme::DEFAULT).is_ok() {
                types.insert(name, entry.config);
            }
        }
        let gpus = [
            Gpu::new(ArchClass::Base, 13, false),
            Gpu::REFERENCE,
            Gpu::new(ArchClass::Max, 17, true),
        ];
        let types: Vec<_> = types.iter().flat_map(|t| gpus.map(|gpu| (t, gpu))).collect();
        let sampled: Vec<bool> = types
            .par_iter()
            .map(|((name, config), gpu)| sampled_like_whole(name, config, *gpu))
            .collect();
        let some = sampled.iter().filter(|x| **x).count();
        assert!(some * 5 > 2 * sampled.len(), "layers left out in {some} of {}", sampled.len());
        // What an indexer puts off is followed.
        let left_out = |name: &str| {
            types
                .iter()
                .zip(&sampled)
                .any(|(((known, _), _), left_out)| *known == name && *left_out)
        };
        assert!(left_out("deepseek_v32") && left_out("glm_moe_dsa"));
    }

    /// Compares the peaks of one model with and without layers left out; `false` where none can be.
    fn sampled_like_whole(name: &str, config: &Config, gpu: Gpu) -> bool {
        let graph = Graph::quantized(config, Scheme::DEFAULT).expect("known");
        let asked = OnGpu { run: Run::default().with_context(4200), gpu };
        let chunks = [2048, 2048, 103];
        let whole = |_: &ReplayedProcess<'_>, _| true;
        let run = |skipped, rest| {
            run::replayed(&graph, &asked, &chunks, (Tokens::All, &whole), skipped, rest)
        };
        let Some(some) = sampled(&graph, gpu, &run).expect("runs") else { return false };
        let whole = run(SkippedLayers::NONE, LeftOut::Missing).expect("runs").peak;
        let near = |a: u64, b: u64, off: u64| {
            assert!(a.abs_diff(b) <= off, "{name} on {gpu:?}: {a} instead of {b}");
        };
        near(some.peak_bytes, whole.peak_bytes, whole.peak_bytes / 10_000);
        // Which freed buffers are taken again depends on when a layer's cache is replaced.
        let all = whole.steps.last().map_or(0, |s| s.kv_bytes + s.state_bytes);
        let caches = 2 * all / graph.layers();
        near(some.resident_bytes, whole.resident_bytes, caches.max(whole.resident_bytes / 2000));
        near(some.kv_bytes, whole.kv_bytes, 0);
        near(some.state_bytes, whole.state_bytes, 0);
        true
    }
}
