//! Layers that do the same, and calls that leave some of them out.
//!
//! Most models repeat one layer, or a short pattern of layers, dozens of times. What a call does in one of them it does
//! in all, so that counts and memory can be read off a call that runs only some and skips the others
//! ([`SkippedLayers`]). Which layers are alike is not assumed but read off a whole decode step ([`LayerPlan`]), once per
//! graph; traffic, peaks and timings of layers all ask that plan.

use super::cache::CacheKind;
use super::params::{ModuleId, Parameters};
use super::skipped::SkippedLayers;
use super::tape::{Source, Stage, Trace};
use crate::graph::op::Op;
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};

/// What a network tells of a layer, so that layers can be compared and skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerUse {
    /// The layer's own caches, by their places among all: one for every time that it is run, where it has any.
    pub caches: Vec<usize>,
    /// Numbers that differ between layers with different masks, one for every time that it is run.
    pub masks: Vec<u64>,
}

/// Layers that do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerKind {
    /// The first of them, which stands for all.
    pub layer: u16,
    /// How many there are.
    pub count: u32,
}

/// A pattern of layers that repeats. Those from `from` up to `to` do what the pattern in front of them does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// The first layer that may be skipped.
    pub from: usize,
    /// The first layer behind those.
    pub to: usize,
    /// Layers of the pattern.
    pub period: usize,
}

impl Repeat {
    /// How many layers may be skipped.
    #[must_use]
    pub const fn layers(self) -> usize {
        self.to - self.from
    }

    /// How often the pattern may be skipped.
    #[must_use]
    pub const fn patterns(self) -> usize {
        self.layers() / self.period
    }

    /// The same without the first `patterns` repetitions, which are run after all.
    #[must_use]
    pub fn shortened(self, patterns: usize) -> Self {
        Self { from: (self.from + patterns * self.period).min(self.to), ..self }
    }
}

/// Which layers of a graph do the same.
#[derive(Clone, Debug)]
pub struct LayerPlan {
    layers: Vec<PlannedLayer>,
    /// The layers that can be skipped where operations are only counted.
    counted: SkippedLayers,
}

/// One layer of a plan.
#[derive(Clone, Debug)]
struct PlannedLayer {
    /// The same number for layers that do the same.
    class: u64,
    /// Its caches, by their places among all.
    caches: Vec<usize>,
    /// Operations recorded for it.
    operations: usize,
    /// Elements of its tensors.
    elements: u64,
}

/// Longest pattern of layers that is looked for.
const LONGEST_PERIOD: usize = 16;

impl LayerPlan {
    /// Compares the layers of a decode step over empty caches. `uses` is what the network tells of them.
    pub(super) fn of(
        trace: &Trace,
        params: &Parameters,
        uses: Vec<LayerUse>,
        caches: &[CacheKind],
    ) -> Self {
        let mut hashers = vec![FxHasher::default(); uses.len()];
        let planned = |used: &LayerUse| PlannedLayer {
            class: 0,
            caches: used.caches.clone(),
            operations: 0,
            elements: 0,
        };
        let mut layers: Vec<PlannedLayer> = uses.iter().map(planned).collect();
        for node in trace.nodes() {
            let Some(i) = layer_of(node.stage) else { continue };
            let (Some(h), Some(layer)) = (hashers.get_mut(i), layers.get_mut(i)) else { continue };
            layer.operations += 1;
            hash_op(trace, &node.op, h);
            node.scores.hash(h);
            for &v in trace.outputs(node) {
                let value = trace.value(v);
                (value.shape, value.dtype).hash(h);
            }
            for &v in trace.inputs(node) {
                let value = trace.value(v);
                (value.shape, value.dtype, std::mem::discriminant(&value.source)).hash(h);
                if let Source::Param(module, part) = value.source {
                    layer.elements += value.shape.elements();
                    packing(params, module).hash(h);
                    part.hash(h);
                }
            }
        }
        for ((mut h, layer), used) in hashers.into_iter().zip(&mut layers).zip(&uses) {
            let kinds: Vec<_> = used.caches.iter().map(|&i| caches.get(i)).collect();
            (&used.masks, kinds).hash(&mut h);
            layer.class = h.finish();
        }
        Self::from_layers(layers)
    }

    fn from_layers(layers: Vec<PlannedLayer>) -> Self {
        let mut plan = Self { layers, counted: SkippedLayers::NONE };
        plan.counted = plan.without(&plan.repeats(1, plan.len().saturating_sub(2)));
        plan
    }

    /// The longest row of layers that repeats a pattern before it, without the first `first` and the last `last`
    /// layers.
    #[must_use]
    pub fn longest(&self, first: usize, last: usize) -> Option<Repeat> {
        self.longest_within(first.max(1), self.len().saturating_sub(last))
    }

    /// The longest row of layers that repeats a pattern, both within the layers from `start` up to `end`.
    fn longest_within(&self, start: usize, end: usize) -> Option<Repeat> {
        let mut best: Option<Repeat> = None;
        for period in 1..=LONGEST_PERIOD {
            let mut from = start + period;
            for layer in start + period..=end {
                let alike = || self.layers[layer].class == self.layers[layer - period].class;
                if layer < end && alike() {
                    continue;
                }
                let whole = layer.saturating_sub(from) / period * period;
                if whole > best.map_or(0, Repeat::layers) {
                    best = Some(Repeat { from, to: from + whole, period });
                }
                from = layer + 1;
            }
        }
        best
    }

    /// All rows of layers that repeat a pattern within the layers from `start` up to `end`: the longest, and what there
    /// is before and behind it.
    fn repeats(&self, start: usize, end: usize) -> Vec<Repeat> {
        let Some(longest) = self.longest_within(start, end) else { return Vec::new() };
        let mut all = self.repeats(start, longest.from - longest.period);
        all.push(longest);
        all.extend(self.repeats(longest.to, end));
        all
    }

    /// Layers to skip: all of those rows.
    #[must_use]
    pub fn without(&self, repeats: &[Repeat]) -> SkippedLayers {
        if repeats.is_empty() {
            return SkippedLayers::NONE;
        }
        let caches = self.layers.iter().flat_map(|l| &l.caches).max().map_or(0, |last| last + 1);
        let (mut layers, mut caches) = (in_order(self.len()), in_order(caches));
        for r in repeats {
            for (skipped, run) in (r.from..r.to).zip((r.from - r.period..r.from).cycle()) {
                layers[skipped] = run as u16;
                let pairs = self.layers[skipped].caches.iter().zip(&self.layers[run].caches);
                pairs.for_each(|(&skipped, &run)| caches[skipped] = run as u16);
            }
        }
        SkippedLayers::new(layers, caches)
    }

    /// The layers that a call may skip whose operations are only counted: those that are run are the first layer, the
    /// last two, and at least one of every kind.
    #[must_use]
    pub fn counted(&self) -> SkippedLayers {
        self.counted.clone()
    }

    /// The kinds of layers, in the order in which they first occur.
    #[must_use]
    pub fn kinds(&self) -> Vec<LayerKind> {
        let mut known: Vec<(u64, LayerKind)> = Vec::new();
        for (layer, planned) in (0..).zip(&self.layers) {
            match known.iter_mut().find(|(class, _)| *class == planned.class) {
                Some((_, kind)) => kind.count += 1,
                None => known.push((planned.class, LayerKind { layer, count: 1 })),
            }
        }
        known.into_iter().map(|(_, kind)| kind).collect()
    }

    /// Number of layers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are no layers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Operations of a layer and elements of its tensors, on average.
    #[must_use]
    pub fn mean_layer(&self) -> (f64, f64) {
        let n = self.layers.len().max(1) as f64;
        let operations: usize = self.layers.iter().map(|l| l.operations).sum();
        let elements: u64 = self.layers.iter().map(|l| l.elements).sum();
        (operations as f64 / n, elements as f64 / n)
    }
}

fn layer_of(stage: Stage) -> Option<usize> {
    match stage {
        Stage::Layer(layer) => Some(usize::from(layer)),
        Stage::Embed | Stage::Head => None,
    }
}

/// What an operation does, without the numbers that do not change its kernels.
fn hash_op(trace: &Trace, op: &Op, h: &mut FxHasher) {
    std::mem::discriminant(op).hash(h);
    op.name().hash(h);
    if let Op::Compiled(body) = op {
        trace.body(*body).nodes.iter().for_each(|n| n.op.name().hash(h));
    }
}

fn in_order(n: usize) -> Vec<u16> {
    (0..n).map(|i| i as u16).collect()
}

fn packing(params: &Parameters, module: ModuleId) -> impl Hash {
    let m = params.module(module);
    (m.kind, m.packing, m.dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(pattern: &[u64]) -> LayerPlan {
        let layer = |(i, &class): (usize, &u64)| PlannedLayer {
            class,
            caches: vec![i],
            operations: 1,
            elements: 1,
        };
        LayerPlan::from_layers(pattern.iter().enumerate().map(layer).collect())
    }

    #[test]
    fn equal_layers_are_of_one_kind() {
        let kinds = plan(&[9, 1, 1, 2, 1]).kinds();
        let kinds: Vec<_> = kinds.iter().map(|k| (k.layer, k.count)).collect();
        assert_eq!(kinds, [(0, 1), (1, 3), (3, 1)]);
    }

    #[test]
    fn the_first_and_the_last_layers_are_run() {
        let plan = plan(&[1; 10]);
        let longest = plan.longest(1, 2).expect("equal layers");
        assert_eq!((longest.from, longest.to, longest.period), (2, 8, 1));
        let skipped = plan.without(&[longest]);
        assert_eq!((0..10).filter(|&i| skipped.skips(i)).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
        assert_eq!([0, 1, 8].map(|i| skipped.stands_for(i)), [1, 7, 1]);
        assert_eq!((skipped.cache_like(5), skipped.end()), (1, 8));
    }

    #[test]
    fn patterns_are_skipped_whole() {
        // One layer of its own, then patterns of three, then the start of another.
        let plan = plan(&[9, 1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1]);
        let longest = plan.longest(1, 1).expect("a pattern");
        assert_eq!((longest.from, longest.to, longest.period), (4, 10, 3));
        let skipped = plan.without(&[longest]);
        assert_eq!([3, 1, 0].map(|i| skipped.stands_for(i)), [3, 3, 1]);
        assert_eq!([5, 6, 8].map(|c| skipped.cache_like(c)), [2, 3, 2]);
    }

    /// Blocks of layers, each of which differs from the others, repeat their patterns one by one.
    #[test]
    fn every_row_of_equal_layers_is_skipped() {
        let skipped = plan(&[9, 1, 1, 1, 8, 2, 2, 2, 2, 7, 3, 3, 6, 6]).counted();
        let run: Vec<_> = (0..14).filter(|&i| !skipped.skips(i)).collect();
        assert_eq!(run, [0, 1, 4, 5, 9, 10, 12, 13]);
        assert_eq!(run.iter().map(|&i| skipped.stands_for(i as u16)).sum::<u64>(), 14);
    }

    #[test]
    fn different_layers_are_all_run() {
        assert!(plan(&[1, 2, 3, 4, 5]).counted().is_empty());
        assert!(plan(&[]).counted().is_empty());
    }
}
