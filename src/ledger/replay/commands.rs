//! Command buffers of a replay.

use super::Replay;
use super::memory::{ArrayId, BufferId};
use std::collections::VecDeque;

/// Committed command buffers that MLX lets be outstanding (`MAX_ACTIVE_TASKS`, `mlx/transforms.cpp`).
const MAX_ACTIVE_TASKS: usize = 10;

/// The command buffer being encoded and those that have not completed.
#[derive(Debug, Default)]
pub(super) struct CommandBuffers {
    in_flight: VecDeque<(Vec<BufferId>, bool)>,
    counted: usize,
    held: Vec<BufferId>,
    spare: Vec<Vec<BufferId>>,
    bound_elements: u64,
    kernels: u32,
    /// Kernels encoded so far.
    pub encoded: u64,
    /// Number of the command buffer being encoded; also how many have been committed.
    pub committed: u32,
}

impl CommandBuffers {
    /// Keeps a buffer that somebody holds until the command buffer being encoded completes.
    pub fn keep(&mut self, b: BufferId) {
        self.held.push(b);
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

impl Replay<'_> {
    /// Keeps a buffer until the command buffer being encoded completes.
    pub(super) fn hold(&mut self, b: BufferId) {
        self.buffers.hold(b);
        self.buffers.keep(b);
        self.commands.keep(b);
    }

    /// Encodes kernels that bind the given arrays.
    pub(super) fn dispatch(&mut self, ins: &[ArrayId], outs: &[ArrayId], kernels: u32) {
        self.current.dispatches += kernels;
        self.commands.kernels += kernels;
        self.commands.encoded += u64::from(kernels);
        for a in ins.iter().chain(outs) {
            let a = &self.arrays[a.index()];
            if a.evaluated() && self.buffers.bind(a.buffer, self.commands.committed) {
                self.commands.bound_elements += a.data_size;
            }
        }
    }

    pub(super) fn commit(&mut self, counted: bool) {
        let c = &mut self.commands;
        let fresh = c.spare.pop().unwrap_or_default();
        c.in_flight.push_back((std::mem::replace(&mut c.held, fresh), counted));
        c.counted += usize::from(counted);
        c.bound_elements = 0;
        c.kernels = 0;
        c.committed += 1;
    }

    pub(super) fn complete_one(&mut self) {
        let Some((mut held, counted)) = self.commands.in_flight.pop_front() else { return };
        self.commands.counted -= usize::from(counted);
        for b in held.drain(..) {
            self.buffers.let_go(b);
        }
        self.commands.spare.push(held);
    }

    /// Commits a full command buffer; with the 11th outstanding, waits for the oldest.
    pub(super) fn commit_when_full(&mut self) {
        let (max_kernels, max_elements) = self.gpu.limits();
        if self.commands.kernels > max_kernels || self.commands.bound_elements >> 20 > max_elements
        {
            self.commit(true);
        }
        if self.commands.counted > MAX_ACTIVE_TASKS {
            if self.commands.kernels > 0 || !self.commands.held.is_empty() {
                self.commit(false);
            }
            while self.commands.in_flight.front().is_some_and(|(_, counted)| !counted) {
                self.complete_one();
            }
            self.complete_one();
        }
    }
}
