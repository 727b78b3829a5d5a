//! Buffers in the place of the caches of skipped layers.
//!
//! A call that skips layers ([`crate::graph::SkippedLayers`]) runs a few of many equal ones. The caches of the others
//! take memory all the same, as much as those of the layers like them: a stand-in buffer is held for each of their
//! arrays. The stand-ins are replaced, as the caches would be, when the replay comes to the first layer behind the
//! skipped ones.
//!
//! MLX puts off to the end of a call what nothing in the call reads, such as the keys of an indexer while all tokens are
//! read anyway. Keys and values that are put off have no buffer before and get their stand-ins at the end; what they are
//! computed from stays in memory until then, for every layer, and has stand-ins too. Recurrent states keep more than that
//! tells, and a replay that skips layers is no good where they are put off.

use super::Replay;
use super::memory::{ArrayId, ArrayOrigin, BufferId, NodeId};
use crate::graph::op::Op;
use crate::graph::tape::Stage;
use crate::ledger::pages::PAGE;

/// An array of a cache that skipped layers have one like.
#[derive(Clone, Copy, Debug)]
pub struct Original {
    /// The array.
    pub array: ArrayId,
    /// Its slot.
    pub slot: u32,
    /// How many skipped layers have one like it.
    pub times: u32,
    /// Whether it holds keys or values, of which every layer has as many.
    pub keys: bool,
}

#[derive(Debug, Default)]
pub(super) struct StandIns {
    /// The buffers, and the slot of the array that each is like.
    held: Vec<(BufferId, u32)>,
    /// Those of arrays that were put off to the end of the call.
    held_late: Vec<(BufferId, u32)>,
    /// Arrays that have been put off so far.
    late: Vec<Original>,
    /// Buffers like those that are kept for what was put off.
    kept: Vec<BufferId>,
    /// The arrays that the buffers will be like once the replay comes to that layer.
    next: Option<(u16, Vec<Original>)>,
    /// Command buffers committed before the skipped layers were last passed.
    committed_before: u32,
    /// Whether a state had not been computed yet when the skipped layers were passed.
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
        self.drop_late();
        self.stand_in(0, originals);
        self.renew_stand_ins();
    }

    /// Bytes of the stand-ins for arrays of some slots.
    pub fn bytes_of_stand_ins(&self, wanted: impl Fn(u32) -> bool) -> u64 {
        let all = self.stand_ins.held.iter().chain(&self.stand_ins.held_late);
        let some = all.filter(|(_, slot)| wanted(*slot));
        some.map(|&(b, _)| self.buffers.size(b)).sum()
    }

    /// Command buffers committed since the skipped layers were last passed; none where states of the layers like them were
    /// not complete then, because MLX puts off what only the next call needs.
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
        self.drop_late();
        let mut seen: Vec<BufferId> = Vec::new();
        let mut like: Vec<(u64, Original)> = Vec::new();
        let mut late: Vec<Original> = Vec::new();
        for original in originals {
            match self.settled(original.array) {
                None => late.push(original),
                Some(buffer) if seen.contains(&buffer) => {}
                Some(buffer) => {
                    seen.push(buffer);
                    like.push((self.buffers.size(buffer), original));
                }
            }
        }
        self.stand_ins.too_early |= late.iter().any(|original| !original.keys);
        self.keep_for(&late, &mut seen);
        self.stand_ins.late = late;
        self.replace_stand_ins(&like);
    }

    /// Holds buffers like those from which arrays that are put off will be computed.
    fn keep_for(&mut self, late: &[Original], seen: &mut Vec<BufferId>) {
        for original in late {
            for buffer in self.waited_for(original.array) {
                if seen.contains(&buffer) {
                    continue;
                }
                seen.push(buffer);
                let size = self.buffers.size(buffer);
                for _ in 0..original.times {
                    let stand_in = self.buffers.allocate(size);
                    self.buffers.hold(stand_in);
                    self.stand_ins.kept.push(stand_in);
                }
            }
        }
    }

    /// Holds stand-ins for what was put off and has been computed by the end of the call.
    pub(super) fn stand_in_late(&mut self) {
        let mut seen: Vec<BufferId> = Vec::new();
        let late = std::mem::take(&mut self.stand_ins.late);
        let computed = late.iter().all(|original| self.settled(original.array).is_some());
        for Original { array, slot, times, .. } in late {
            let Some(buffer) = self.settled(array).filter(|b| !seen.contains(b)) else { continue };
            seen.push(buffer);
            for _ in 0..times {
                let stand_in = self.buffers.allocate(self.buffers.size(buffer));
                self.buffers.hold(stand_in);
                self.stand_ins.held_late.push((stand_in, slot));
            }
        }
        if computed {
            self.drop_kept();
        }
    }

    fn drop_late(&mut self) {
        for (buffer, _) in std::mem::take(&mut self.stand_ins.held_late) {
            self.buffers.drop_ref(buffer);
        }
        self.drop_kept();
    }

    fn drop_kept(&mut self) {
        for buffer in std::mem::take(&mut self.stand_ins.kept) {
            self.buffers.drop_ref(buffer);
        }
    }

    /// The buffer of an array that has been computed, or that is another one which has been, only tied to more.
    fn settled(&self, mut a: ArrayId) -> Option<BufferId> {
        loop {
            let array = &self.arrays[a.index()];
            if array.evaluated() {
                return Some(array.buffer);
            }
            let maker = self.users[a.index()].maker;
            if maker == NodeId::NONE || !matches!(self.op(maker), Op::Depends) {
                return None;
            }
            a = self.links[self.node_inputs(maker).start];
        }
    }

    fn op(&self, node: NodeId) -> &Op {
        let pending = &self.nodes[node.index()];
        &self.traces[pending.trace as usize].nodes()[pending.node as usize].op
    }

    /// The buffers that an array which has not been computed will be computed from, without tensors and scalars.
    fn waited_for(&self, a: ArrayId) -> Vec<BufferId> {
        let mut found = Vec::new();
        let maker = self.users[a.index()].maker;
        let mut waiting: Vec<NodeId> =
            Some(maker).filter(|m| *m != NodeId::NONE).into_iter().collect();
        let mut next = 0;
        while let Some(&node) = waiting.get(next) {
            next += 1;
            for i in self.node_inputs(node) {
                let read = self.links[i];
                let array = &self.arrays[read.index()];
                let maker = self.users[read.index()].maker;
                if array.evaluated() {
                    let tensor = matches!(array.origin, ArrayOrigin::Param(..));
                    if !tensor && self.buffers.size(array.buffer) > PAGE {
                        found.push(array.buffer);
                    }
                } else if maker != NodeId::NONE && !waiting.contains(&maker) {
                    waiting.push(maker);
                }
            }
        }
        found
    }

    fn replace_stand_ins(&mut self, like: &[(u64, Original)]) {
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
