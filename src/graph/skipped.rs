//! Layers that a call leaves out because others do the same.

use std::sync::Arc;

/// Layers that a call skips. Each does what one that is run does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedLayers {
    /// `None` where every layer is run.
    in_place: Option<Arc<RunInPlace>>,
}

/// What is run in the place of what is skipped. What is run itself stands for itself.
#[derive(Debug, PartialEq, Eq)]
struct RunInPlace {
    /// For each layer the one that is run.
    layers: Vec<u16>,
    /// For each cache that of the layer that is run.
    caches: Vec<u16>,
    /// How many layers each stands for.
    stands_for: Vec<u16>,
}

impl SkippedLayers {
    /// Every layer is run.
    pub const NONE: Self = Self { in_place: None };

    /// For each layer, and for each cache, the one that is run in its place.
    pub(super) fn new(layers: Vec<u16>, caches: Vec<u16>) -> Self {
        let mut stands_for = vec![0; layers.len()];
        layers.iter().for_each(|&run| stands_for[usize::from(run)] += 1);
        Self { in_place: Some(Arc::new(RunInPlace { layers, caches, stands_for })) }
    }

    /// Whether every layer is run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end() == 0
    }

    /// The first layer behind all that are skipped; 0 where none is.
    #[must_use]
    pub fn end(&self) -> u16 {
        let layers = self.in_place.iter().flat_map(|run| (0..).zip(&run.layers));
        layers.filter(|(layer, run)| *run != layer).last().map_or(0, |(layer, _)| layer + 1)
    }

    /// Whether a layer is skipped.
    #[must_use]
    pub fn skips(&self, layer: usize) -> bool {
        self.in_place.as_ref().is_some_and(|run| replaced(&run.layers, layer) != layer)
    }

    /// Whether the layer of a cache is skipped.
    #[must_use]
    pub fn skips_cache(&self, cache: usize) -> bool {
        self.cache_like(cache) != cache
    }

    /// How many layers a layer that is run stands for, itself included.
    #[must_use]
    pub fn stands_for(&self, layer: u16) -> u64 {
        let times = self.in_place.as_ref().and_then(|run| run.stands_for.get(usize::from(layer)));
        times.map_or(1, |&n| u64::from(n))
    }

    /// The cache of the layer that is run and does what the layer of the given cache would do.
    #[must_use]
    pub fn cache_like(&self, cache: usize) -> usize {
        self.in_place.as_ref().map_or(cache, |run| replaced(&run.caches, cache))
    }
}

fn replaced(places: &[u16], place: usize) -> usize {
    places.get(place).map_or(place, |&run| usize::from(run))
}
