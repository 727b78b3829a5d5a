//! A share of the GPU limit that a program keeps its memory within.

use serde::Deserialize;

/// What a program does at its own limit of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapKind {
    /// It refuses a prompt whose footprint would exceed it.
    Refuses,
    /// It waits, and gives freed buffers back; what runs goes on.
    Waits,
    /// It takes as much when it starts, and keeps weights and caches within it.
    Reserves,
}

/// A limit of memory of a program's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryCap {
    /// What happens there.
    pub kind: CapKind,
    /// Share of the GPU limit, in percent.
    pub percent: u8,
}
