//! Buffers in the place of the caches of skipped layers.
//!
//! A call that skips layers ([`crate::graph::SkippedLayers`]) runs a few of many equal ones. The caches of the others
//! take memory all the same, as much as those of the layers like them: a stand-in buffer is held for each of their
//! arrays. The stand-ins are replaced, as the caches would be, when the replay comes to the first layer behind the
//! skipped ones.

use super::Replay;
use super::memory::{ArrayId, BufferId};
use crate::graph::tape::Stage;

/// An array of a cache that skipped layers have one like.
#[derive(Clone, Copy, Debug)]
pub struct Original {
    /// The array.
    pub array: ArrayId,
    /// Its slot.
    pub slot: u32,
    /// How many skipped layers have one like it.
    pub times: u32,
}

#[derive(Debug, Default)]
pub(super) struct StandIns {
    /// The buffers, and the slot of the array that each is like.
    held: Vec<(BufferId, u32)>,
    /// The arrays that the buffers will be like once the replay comes to that layer.
    next: Option<(u16, Vec<Original>)>,
    /// Command buffers committed before the skipped layers were last passed.
    committed_before: u32,
    /// Whether an original had not been computed yet when the skipped layers were passed.
    too_early: bool,
}

impl Replay<'_> {
    /// Replaces the stand-ins by buffers like the originals when the replay comes to layer `to`, the first one behind the
    /// skipped layers.
    pub fn stand_in(&mut self, to: u16, originals: Vec<Original>) {
        self.stand_ins.next = Some((to, originals));
    }

    /// The same, at once.
    pub fn stand_in_now(&mut self, originals: Vec<Original>) {
        for (buffer, _) in std::mem::take(&mut self.stand_ins.held) {
            self.buffers.drop_ref(buffer);
        }
        self.stand_in(0, originals);
        self.renew_stand_ins();
    }

    /// Bytes of the stand-ins for arrays of some slots.
    pub fn bytes_of_stand_ins(&self, wanted: impl Fn(u32) -> bool) -> u64 {
        let some = self.stand_ins.held.iter().filter(|(_, slot)| wanted(*slot));
        some.map(|&(b, _)| self.buffers.size(b)).sum()
    }

    /// Command buffers committed since the skipped layers were last passed; none where the caches of the layers like them
    /// were not complete then, because MLX puts off what only the next call needs.
    #[must_use]
    pub const fn command_buffers_since_skipped(&self) -> u32 {
        if self.stand_ins.too_early {
            return 0;
        }
        self.commands.committed - self.stand_ins.committed_before
    }

    pub(super) fn renew_stand_ins_at(&mut self, stage: Stage) {
        let passed = match (&self.stand_ins.next, stage) {
            (None, _) | (_, Stage::Embed) => false,
            (Some((to, _)), Stage::Layer(layer)) => layer >= *to,
            (Some(_), Stage::Head) => true,
        };
        if passed {
            self.renew_stand_ins();
        }
    }

    pub(super) fn renew_stand_ins(&mut self) {
        let Some((_, originals)) = self.stand_ins.next.take() else { return };
        self.stand_ins.committed_before = self.commands.committed;
        let mut seen: Vec<BufferId> = Vec::new();
        let mut like: Vec<(u64, Original)> = Vec::new();
        for original in originals {
            let a = &self.arrays[original.array.index()];
            self.stand_ins.too_early |= !a.evaluated();
            if a.evaluated() && !seen.contains(&a.buffer) {
                seen.push(a.buffer);
                like.push((self.buffers.size(a.buffer), original));
            }
        }
        // Layer by layer, as the caches would be replaced: one layer's keys may grow while its values shrink.
        let layers = like.iter().map(|(_, m)| m.times).max().unwrap_or(0);
        let of_layer = |i| like.iter().filter(move |(_, m)| i < m.times);
        let wanted: Vec<(u64, u32)> =
            (0..layers).flat_map(of_layer).map(|&(size, m)| (size, m.slot)).collect();
        let held = &self.stand_ins.held;
        let same = held.len() == wanted.len()
            && held.iter().zip(&wanted).all(|(&(b, _), &(size, _))| self.buffers.size(b) == size);
        if same {
            return;
        }
        let old = std::mem::take(&mut self.stand_ins.held);
        let mut old = old.into_iter();
        for (size, slot) in wanted {
            let buffer = self.buffers.allocate(size);
            self.buffers.hold(buffer);
            self.stand_ins.held.push((buffer, slot));
            if let Some((buffer, _)) = old.next() {
                self.buffers.drop_ref(buffer);
            }
        }
        old.for_each(|(buffer, _)| self.buffers.drop_ref(buffer));
    }
}
