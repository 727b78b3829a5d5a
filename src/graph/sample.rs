//! Layers that do the same, and calls that leave some of them out.
//!
//! Most models repeat one layer, or a short pattern of layers, dozens of times. What a call does in one of them it does
//! in all, so that counts and memory can be read off a call that runs only some: a [`Gap`] is the stretch of layers it
//! leaves out. Which layers are alike is not assumed but read off a whole decode step ([`Classes`]).

use super::cache::Cache;
use super::params::{ModuleId, Parameters};
use super::tape::{Source, Stage, Trace};
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};

/// Layers that a call leaves out. Each does what the layer one period before it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// First layer left out.
    pub from: u16,
    /// First layer after those; equal to `from` where none is left out.
    pub to: u16,
    /// Layers of the pattern that repeats.
    pub period: u16,
    /// The caches of those layers: the first, and the first after them.
    pub caches: (u16, u16),
}

impl Gap {
    /// Every layer is run.
    pub const NONE: Self = Self { from: 0, to: 0, period: 1, caches: (0, 0) };

    /// Whether every layer is run.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// The same gap with the first `patterns` patterns run after all.
    #[must_use]
    pub fn shortened(mut self, patterns: u16) -> Self {
        let caches = (self.caches.1 - self.caches.0) / ((self.to - self.from) / self.period).max(1);
        self.from = (self.from + patterns * self.period).min(self.to);
        self.caches.0 = (self.caches.0 + patterns * caches).min(self.caches.1);
        self
    }

    /// How many patterns are left out.
    #[must_use]
    pub const fn patterns(&self) -> u16 {
        (self.to - self.from) / self.period
    }

    /// Whether a layer is left out.
    #[must_use]
    pub const fn skips(&self, layer: usize) -> bool {
        layer >= self.from as usize && layer < self.to as usize
    }

    /// Whether the layer of a cache is left out.
    #[must_use]
    pub const fn skips_cache(&self, cache: usize) -> bool {
        cache >= self.caches.0 as usize && cache < self.caches.1 as usize
    }

    /// How many layers a layer that is run stands for, itself included.
    #[must_use]
    pub const fn stands_for(&self, layer: u16) -> u64 {
        if layer < self.from && layer + self.period >= self.from {
            1 + ((self.to - self.from) / self.period) as u64
        } else {
            1
        }
    }

    /// The cache of a layer that is run and that does what the layer of a left-out cache would do.
    #[must_use]
    pub fn cache_like(&self, cache: usize) -> usize {
        let (from, to) = (usize::from(self.caches.0), usize::from(self.caches.1));
        let repeats = usize::from((self.to - self.from) / self.period.max(1)).max(1);
        let period = ((to - from) / repeats).max(1);
        from - period + (cache - from) % period
    }

    /// The caches of the layers left out become those of the layers like them.
    pub fn follow(&self, caches: &mut [Cache]) {
        for i in usize::from(self.caches.0)..usize::from(self.caches.1) {
            caches[i] = caches[self.cache_like(i)].clone();
        }
    }
}

/// What a network tells of a layer, so that layers can be compared and left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerUse {
    /// The layer's cache, by its place among all; `None` where it has none.
    pub cache: Option<usize>,
    /// A number that differs between layers with different masks.
    pub mask: u64,
}

/// Which layers of a graph do the same.
#[derive(Clone, Debug)]
pub struct Classes {
    /// Class of every layer; empty where the network cannot leave layers out.
    classes: Vec<u64>,
    uses: Vec<LayerUse>,
    /// Operations recorded for each layer.
    operations: Vec<usize>,
    /// Elements of the tensors of each layer.
    elements: Vec<u64>,
}

/// Longest pattern of layers that is looked for.
const LONGEST_PERIOD: usize = 16;

impl Classes {
    /// Compares the layers of a decode step over empty caches.
    pub(super) fn of(
        trace: &Trace,
        params: &Parameters,
        uses: Option<Vec<LayerUse>>,
        kind_of: impl Fn(usize) -> u64,
    ) -> Self {
        let uses = uses.unwrap_or_default();
        let mut hashers = vec![FxHasher::default(); uses.len()];
        let mut operations = vec![0; uses.len()];
        let mut elements = vec![0; uses.len()];
        for node in trace.nodes() {
            let Stage::Layer(layer) = node.stage else { continue };
            let Some(h) = hashers.get_mut(usize::from(layer)) else { continue };
            operations[usize::from(layer)] += 1;
            std::mem::discriminant(&node.op).hash(h);
            node.scores.hash(h);
            for &v in trace.outputs(node) {
                let value = trace.value(v);
                (value.shape, value.dtype).hash(h);
            }
            for &v in trace.inputs(node) {
                let value = trace.value(v);
                (value.shape, value.dtype, std::mem::discriminant(&value.source)).hash(h);
                if let Source::Param(module, part) = value.source {
                    elements[usize::from(layer)] += value.shape.elements();
                    packing(params, module).hash(h);
                    part.hash(h);
                }
            }
        }
        let classes = hashers.into_iter().zip(&uses).map(|(mut h, layer)| {
            (layer.mask, layer.cache.map(&kind_of)).hash(&mut h);
            h.finish()
        });
        Self { classes: classes.collect(), uses, operations, elements }
    }

    /// A gap that leaves out as many layers as possible, but none of the first `first` and the last `last`.
    #[must_use]
    pub fn gap(&self, first: usize, last: usize) -> Gap {
        let mut best = Gap::NONE;
        let end = self.classes.len().saturating_sub(last);
        for period in 1..=LONGEST_PERIOD {
            let start = first.max(1) + period;
            let mut from = start;
            for layer in start..=end {
                let like = layer < end && self.classes[layer] == self.classes[layer - period];
                if like {
                    continue;
                }
                let whole = (layer.saturating_sub(from)) / period * period;
                if whole > usize::from(best.to - best.from) {
                    best = self.left_out(from, from + whole, period).unwrap_or(best);
                }
                from = layer + 1;
            }
        }
        best
    }

    fn left_out(&self, from: usize, to: usize, period: usize) -> Option<Gap> {
        let caches = |layers: &[LayerUse]| layers.iter().filter(|l| l.cache.is_some()).count();
        // Caches before those of the layers, as that of an embedding, count as well.
        let leading = self.uses.iter().find_map(|l| l.cache).unwrap_or(0);
        let before = leading + caches(&self.uses[..from]);
        let inside = caches(&self.uses[from..to]);
        Some(Gap {
            from: from.try_into().ok()?,
            to: to.try_into().ok()?,
            period: period.try_into().ok()?,
            caches: (before.try_into().ok()?, (before + inside).try_into().ok()?),
        })
    }

    /// Layers that can be compared.
    #[must_use]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether no layer can be left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Operations of a layer and elements of its tensors, on average.
    #[must_use]
    pub fn mean_layer(&self) -> (f64, f64) {
        let n = self.classes.len().max(1) as f64;
        let operations: usize = self.operations.iter().sum();
        let elements: u64 = self.elements.iter().sum();
        (operations as f64 / n, elements as f64 / n)
    }
}

fn packing(params: &Parameters, module: ModuleId) -> impl Hash {
    let m = params.module(module);
    (m.kind, m.packing, m.dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(pattern: &[u64]) -> Classes {
        let uses = (0..pattern.len()).map(|i| LayerUse { cache: Some(i), mask: 0 }).collect();
        let n = pattern.len();
        Classes { classes: pattern.to_vec(), uses, operations: vec![1; n], elements: vec![1; n] }
    }

    #[test]
    fn equal_layers_leave_the_ends() {
        let gap = classes(&[1; 10]).gap(1, 2);
        assert_eq!((gap.from, gap.to, gap.period, gap.caches), (2, 8, 1, (2, 8)));
        assert_eq!((gap.stands_for(0), gap.stands_for(1), gap.stands_for(8)), (1, 7, 1));
        assert_eq!(gap.cache_like(5), 1);
    }

    #[test]
    fn patterns_are_left_out_whole() {
        // One layer of its own, then patterns of three, then the start of another.
        let gap = classes(&[9, 1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1]).gap(1, 1);
        assert_eq!((gap.from, gap.to, gap.period), (4, 10, 3));
        assert_eq!((gap.stands_for(3), gap.stands_for(1), gap.stands_for(0)), (3, 3, 1));
        assert_eq!([5, 6, 8].map(|c| gap.cache_like(c)), [2, 3, 2]);
    }

    #[test]
    fn different_layers_are_all_run() {
        assert!(classes(&[1, 2, 3, 4, 5]).gap(1, 1).is_empty());
        assert!(classes(&[]).gap(1, 1).is_empty());
    }
}
