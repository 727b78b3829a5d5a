//! Cache arrays of layers that a call leaves out.
//!
//! A call with a gap ([`crate::graph::Gap`]) runs a few of many equal layers. The caches of the others are there all the
//! same, as large as those of the layers like them: their doubles. They are renewed when the replay passes the gap.

use super::Replay;
use super::memory::{ArrayId, BufferId};
use crate::graph::tape::Stage;

/// An array of the cache that stands for those of layers left out.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// The array.
    pub array: ArrayId,
    /// Its slot.
    pub slot: u32,
    /// How many layers are left out for which it stands.
    pub times: u32,
}

#[derive(Debug, Default)]
pub(super) struct Doubles {
    /// The buffers, and the slot of the array that each is like.
    held: Vec<(BufferId, u32)>,
    /// What the buffers are to become when the replay comes to that layer.
    next: Option<(u16, Vec<Model>)>,
    /// Command buffers committed before the gap was last passed.
    committed_before: u32,
    /// Whether an array to be like was not there yet when the gap was passed.
    too_early: bool,
}

impl Replay<'_> {
    /// The caches of the layers left out before layer `to` become like the given arrays when the replay comes to it.
    pub fn double(&mut self, to: u16, models: Vec<Model>) {
        self.doubles.next = Some((to, models));
    }

    /// The same, at once.
    pub fn double_now(&mut self, models: Vec<Model>) {
        for (buffer, _) in std::mem::take(&mut self.doubles.held) {
            self.buffers.drop_ref(buffer);
        }
        self.double(0, models);
        self.renew_doubles();
    }

    /// Bytes of the doubles of some slots.
    pub fn bytes_of_doubles(&self, wanted: impl Fn(u32) -> bool) -> u64 {
        let doubles = self.doubles.held.iter().filter(|(_, slot)| wanted(*slot));
        doubles.map(|&(b, _)| self.buffers.size(b)).sum()
    }

    /// Command buffers committed since the gap was last passed; `None` where the caches before it were not complete
    /// then, because MLX puts off what only the next call needs.
    #[must_use]
    pub fn command_buffers_since_gap(&self) -> Option<u32> {
        (!self.doubles.too_early).then_some(self.commands.committed - self.doubles.committed_before)
    }

    pub(super) fn renew_doubles_at(&mut self, stage: Stage) {
        let passed = match (&self.doubles.next, stage) {
            (None, _) | (_, Stage::Embed) => false,
            (Some((to, _)), Stage::Layer(layer)) => layer >= *to,
            (Some(_), Stage::Head) => true,
        };
        if passed {
            self.renew_doubles();
        }
    }

    pub(super) fn renew_doubles(&mut self) {
        let Some((_, models)) = self.doubles.next.take() else { return };
        self.doubles.committed_before = self.commands.committed;
        let mut seen: Vec<BufferId> = Vec::new();
        let mut wanted = Vec::new();
        for m in models {
            let a = &self.arrays[m.array.index()];
            self.doubles.too_early |= !a.evaluated();
            if a.evaluated() && !seen.contains(&a.buffer) {
                seen.push(a.buffer);
                let size = self.buffers.size(a.buffer);
                wanted.extend((0..m.times).map(|_| (size, m.slot)));
            }
        }
        let held = &self.doubles.held;
        let same = held.len() == wanted.len()
            && held.iter().zip(&wanted).all(|(&(b, _), &(size, _))| self.buffers.size(b) == size);
        if same {
            return;
        }
        let old = std::mem::take(&mut self.doubles.held);
        let mut old = old.into_iter();
        for (size, slot) in wanted {
            let buffer = self.buffers.allocate(size);
            self.buffers.hold(buffer);
            self.doubles.held.push((buffer, slot));
            if let Some((buffer, _)) = old.next() {
                self.buffers.drop_ref(buffer);
            }
        }
        old.for_each(|(buffer, _)| self.buffers.drop_ref(buffer));
    }
}
