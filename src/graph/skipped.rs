//! Layers that a call leaves out because others do the same.

/// Neighboring layers that a call skips. Each does what the layer one period before it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkippedLayers {
    /// First layer skipped.
    pub from: u16,
    /// First layer after those; equal to `from` where none is skipped.
    pub to: u16,
    /// Layers of the pattern that repeats.
    pub period: u16,
    /// The caches of those layers: the first, and the first after them.
    pub caches: (u16, u16),
}

impl SkippedLayers {
    /// Every layer is run.
    pub const NONE: Self = Self { from: 0, to: 0, period: 1, caches: (0, 0) };

    /// Whether every layer is run.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// The same layers without those of the first `patterns` patterns, which are run after all.
    #[must_use]
    pub fn shortened(mut self, patterns: u16) -> Self {
        let caches = (self.caches.1 - self.caches.0) / ((self.to - self.from) / self.period).max(1);
        self.from = (self.from + patterns * self.period).min(self.to);
        self.caches.0 = (self.caches.0 + patterns * caches).min(self.caches.1);
        self
    }

    /// How many patterns are skipped.
    #[must_use]
    pub const fn patterns(&self) -> u16 {
        (self.to - self.from) / self.period
    }

    /// Whether a layer is skipped.
    #[must_use]
    pub const fn skips(&self, layer: usize) -> bool {
        layer >= self.from as usize && layer < self.to as usize
    }

    /// Whether the layer of a cache is skipped.
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

    /// The cache of the layer that is run and does what the skipped layer of the given cache would do.
    #[must_use]
    pub fn cache_like(&self, cache: usize) -> usize {
        let (from, to) = (usize::from(self.caches.0), usize::from(self.caches.1));
        let repeats = usize::from((self.to - self.from) / self.period.max(1)).max(1);
        let period = ((to - from) / repeats).max(1);
        from - period + (cache - from) % period
    }
}
