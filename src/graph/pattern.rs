//! Layers that do the same, and calls that leave some of them out.
//!
//! Most models repeat one layer, or a short pattern of layers, dozens of times. What a call does in one of them it does
//! in all, so that counts and memory can be read off a call that runs only some and skips the others
//! ([`SkippedLayers`]). Which layers are alike is not assumed but read off a whole decode step ([`LayerPlan`]), once per
//! graph; traffic, peaks and timings of layers all ask that plan.

use super::cache::{Cache, CacheKind};
use super::params::{ModuleId, Parameters};
use super::skipped::SkippedLayers;
use super::tape::{Source, Stage, Trace};
use crate::graph::op::Op;
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};

/// What a network tells of a layer, so that layers can be compared and skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerUse {
    /// The layer's cache, by its place among all; `None` where it has none.
    pub cache: Option<usize>,
    /// A number that differs between layers with different masks.
    pub mask: u64,
}

/// Layers that do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerKind {
    /// The first of them, which stands for all.
    pub layer: u16,
    /// How many there are.
    pub count: u32,
}

/// Which layers of a graph do the same.
#[derive(Clone, Debug)]
pub struct LayerPlan {
    layers: Vec<PlannedLayer>,
    /// Whether the network can skip layers.
    can_skip: bool,
    /// Caches before those of the layers, as that of an embedding.
    leading: usize,
}

/// One layer of a plan.
#[derive(Clone, Copy, Debug)]
struct PlannedLayer {
    /// The same number for layers that do the same.
    class: u64,
    /// Whether it has a cache.
    cached: bool,
    /// Operations recorded for it.
    operations: usize,
    /// Elements of its tensors.
    elements: u64,
}

/// Longest pattern of layers that is looked for.
const LONGEST_PERIOD: usize = 16;

impl LayerPlan {
    /// Compares the layers of a decode step over empty caches. `uses` is what the network tells of them, `None` where it
    /// cannot skip any.
    pub(super) fn of(
        trace: &Trace,
        params: &Parameters,
        uses: Option<Vec<LayerUse>>,
        caches: &[CacheKind],
    ) -> Self {
        let last = trace.nodes().iter().filter_map(|n| layer_of(n.stage)).max();
        let found = last.map_or(0, |i| i + 1);
        let can_skip = uses.is_some();
        let of_layer = uses.as_ref().map_or_else(
            || caches_written(trace, caches, found),
            |uses| {
                let cache = |layer: &LayerUse| layer.cache.and_then(|i| caches.get(i));
                uses.iter().map(|layer| cache(layer).into_iter().collect()).collect()
            },
        );
        let mut hashers = vec![FxHasher::default(); of_layer.len()];
        let mut layers: Vec<PlannedLayer> = of_layer
            .iter()
            .enumerate()
            .map(|(i, kinds)| {
                let cached = uses.as_ref().map_or(!kinds.is_empty(), |u| u[i].cache.is_some());
                PlannedLayer { class: 0, cached, operations: 0, elements: 0 }
            })
            .collect();
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
        for (i, (mut h, layer)) in hashers.into_iter().zip(&mut layers).enumerate() {
            let mask = uses.as_ref().map_or(0, |uses| uses[i].mask);
            (mask, &of_layer[i]).hash(&mut h);
            layer.class = h.finish();
        }
        let leading = uses.iter().flatten().find_map(|layer| layer.cache).unwrap_or(0);
        Self { layers, can_skip, leading }
    }

    /// As many layers as a call can skip, but none of the first `first` and the last `last`.
    #[must_use]
    pub fn skipping(&self, first: usize, last: usize) -> SkippedLayers {
        let mut best = SkippedLayers::NONE;
        if !self.can_skip {
            return best;
        }
        let end = self.layers.len().saturating_sub(last);
        for period in 1..=LONGEST_PERIOD {
            let start = first.max(1) + period;
            let mut from = start;
            for layer in start..=end {
                let alike = || self.layers[layer].class == self.layers[layer - period].class;
                if layer < end && alike() {
                    continue;
                }
                let whole = (layer.saturating_sub(from)) / period * period;
                if whole > usize::from(best.to - best.from) {
                    best = self.skipped(from, from + whole, period).unwrap_or(best);
                }
                from = layer + 1;
            }
        }
        best
    }

    fn skipped(&self, from: usize, to: usize, period: usize) -> Option<SkippedLayers> {
        let caches = |layers: &[PlannedLayer]| layers.iter().filter(|l| l.cached).count();
        let before = self.leading + caches(&self.layers[..from]);
        let inside = caches(&self.layers[from..to]);
        Some(SkippedLayers {
            from: from.try_into().ok()?,
            to: to.try_into().ok()?,
            period: period.try_into().ok()?,
            caches: (before.try_into().ok()?, (before + inside).try_into().ok()?),
        })
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

/// The classes of the caches that each of the first `layers` layers writes.
fn caches_written<'c>(
    trace: &Trace,
    caches: &'c [CacheKind],
    layers: usize,
) -> Vec<Vec<&'c CacheKind>> {
    let mut made: Vec<Option<usize>> = vec![None; trace.values().len()];
    for node in trace.nodes() {
        trace.outputs(node).iter().for_each(|v| made[v.index()] = layer_of(node.stage));
    }
    let of_slot: Vec<usize> = caches
        .iter()
        .enumerate()
        .flat_map(|(i, kind)| std::iter::repeat_n(i, Cache::new(kind).slots().len()))
        .collect();
    let mut written = vec![Vec::new(); layers];
    for &(slot, var) in &trace.cache {
        let (Some(layer), Some(&cache)) = (made[var.index()], of_slot.get(slot as usize)) else {
            continue;
        };
        written[layer].push(&caches[cache]);
    }
    written
}

fn packing(params: &Parameters, module: ModuleId) -> impl Hash {
    let m = params.module(module);
    (m.kind, m.packing, m.dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(pattern: &[u64]) -> LayerPlan {
        let layer = |&class| PlannedLayer { class, cached: true, operations: 1, elements: 1 };
        LayerPlan { layers: pattern.iter().map(layer).collect(), can_skip: true, leading: 0 }
    }

    #[test]
    fn equal_layers_are_of_one_kind() {
        let kinds = plan(&[9, 1, 1, 2, 1]).kinds();
        let kinds: Vec<_> = kinds.iter().map(|k| (k.layer, k.count)).collect();
        assert_eq!(kinds, [(0, 1), (1, 3), (3, 1)]);
    }

    #[test]
    fn the_first_and_the_last_layers_are_run() {
        let skipped = plan(&[1; 10]).skipping(1, 2);
        assert_eq!((skipped.from, skipped.to, skipped.period, skipped.caches), (2, 8, 1, (2, 8)));
        assert_eq!(
            (skipped.stands_for(0), skipped.stands_for(1), skipped.stands_for(8)),
            (1, 7, 1)
        );
        assert_eq!(skipped.cache_like(5), 1);
    }

    #[test]
    fn patterns_are_skipped_whole() {
        // One layer of its own, then patterns of three, then the start of another.
        let skipped = plan(&[9, 1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1]).skipping(1, 1);
        assert_eq!((skipped.from, skipped.to, skipped.period), (4, 10, 3));
        assert_eq!(
            (skipped.stands_for(3), skipped.stands_for(1), skipped.stands_for(0)),
            (3, 3, 1)
        );
        assert_eq!([5, 6, 8].map(|c| skipped.cache_like(c)), [2, 3, 2]);
    }

    #[test]
    fn different_layers_are_all_run() {
        assert!(plan(&[1, 2, 3, 4, 5]).skipping(1, 1).is_empty());
        assert!(plan(&[]).skipping(1, 1).is_empty());
    }
}
