//! Buffers, arrays and command buffers of a replay.

use super::purpose::Purpose;
use super::{Replay, layout};
use crate::graph::params::{ModuleId, Part};
use crate::graph::shape::{MAX_RANK, Shape};
use crate::ledger::pages;
use crate::model::DType;
use std::collections::BTreeMap;
use std::ops::Range;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            pub(super) const fn new(index: usize) -> Self {
                Self(index as u32)
            }

            pub(super) const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id!(
    /// An array of the replay.
    ArrayId
);
id!(
    /// A Metal buffer.
    BufferId
);
id!(
    /// An operation waiting for evaluation.
    NodeId
);

impl BufferId {
    /// No buffer: not evaluated, or already freed.
    pub(super) const NONE: Self = Self(u32::MAX);
}

impl NodeId {
    /// No operation: evaluated, or never computed.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// Where the data of an array comes from; views keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrayOrigin {
    /// An intermediate result.
    None,
    /// A tensor of the model.
    Param(ModuleId, Part),
    /// A slot of the cache.
    Cache(u32),
}

/// Who makes an array and who still refers to it: what is looked at most often, apart from the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Users {
    /// The operation that will make it, until it has been evaluated.
    pub maker: NodeId,
    /// Unevaluated operations that read it.
    pub readers: u32,
    /// References from outside.
    pub handles: u32,
}

impl Users {
    pub const NONE: Self = Self { maker: NodeId::NONE, readers: 0, handles: 0 };

    const fn are_gone(self) -> bool {
        self.readers == 0 && self.handles == 0
    }
}

/// An array: shape, layout, buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplayArray {
    pub shape: Shape,
    pub dtype: DType,
    pub buffer: BufferId,
    pub strides: [u64; MAX_RANK],
    /// Elements of the buffer that the array spans.
    pub data_size: u64,
    pub flags: layout::Flags,
    pub origin: ArrayOrigin,
}

impl ReplayArray {
    pub fn new(shape: Shape, dtype: DType) -> Self {
        Self {
            shape,
            dtype,
            buffer: BufferId::NONE,
            strides: [0; MAX_RANK],
            data_size: 0,
            flags: layout::Flags::DENSE,
            origin: ArrayOrigin::None,
        }
    }

    pub fn item(&self) -> u64 {
        self.dtype.bytes()
    }

    pub fn size(&self) -> u64 {
        self.shape.elements()
    }

    pub fn bytes(&self) -> u64 {
        self.size() * self.item()
    }

    pub fn evaluated(&self) -> bool {
        self.buffer != BufferId::NONE
    }

    pub fn strides(&self) -> &[u64] {
        &self.strides[..self.shape.rank()]
    }

    /// Stride of an axis, counted from the end when negative.
    pub fn stride(&self, axis: i32) -> u64 {
        self.shape.index(axis).map_or(1, |i| self.strides[i])
    }

    /// Elements without broadcast axes.
    pub fn distinct_elements(&self) -> u64 {
        let axes = self.shape.dims().iter().zip(self.strides());
        axes.filter(|(_, s)| **s > 0).map(|(&n, _)| u64::from(n)).product()
    }

    /// Row-contiguous layout over the whole shape.
    pub fn set_dense(&mut self) {
        self.strides = layout::row_strides(&self.shape);
        self.data_size = self.size();
        self.flags = layout::contiguity(&self.shape, &self.strides).1;
        self.flags.contiguous = true;
    }
}

#[derive(Clone, Copy, Debug)]
struct Buffer {
    size: u64,
    refs: u32,
    /// The command buffer that last bound it.
    bound: u32,
    /// What it is for.
    purpose: Purpose,
    /// Command buffers that keep it, as far as they are among its holders.
    kept: u32,
    /// The operation that last looked at it ([`Buffers::first_look`]).
    seen: u32,
}

/// Freed buffers that MLX keeps for reuse (`mlx/backend/common/buffer_cache.h`).
#[derive(Debug, Default)]
struct Recycled {
    /// Number of kept buffers by size.
    pool: BTreeMap<u64, u32>,
    bytes: u64,
    /// Most bytes of live and kept buffers together.
    peak: u64,
}

impl Recycled {
    fn take(&mut self, size: u64) {
        let limit = (2 * size).min(size + 2 * pages::PAGE);
        let Some((&found, count)) = self.pool.range_mut(size..limit).next() else { return };
        *count -= 1;
        if *count == 0 {
            self.pool.remove(&found);
        }
        self.bytes -= found;
    }

    fn keep(&mut self, size: u64) {
        *self.pool.entry(size).or_default() += 1;
        self.bytes += size;
    }
}

/// All Metal buffers, and how many bytes of them are live.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    list: Vec<Buffer>,
    free: Vec<u32>,
    pub active: u64,
    pub peak: u64,
    /// Bytes of all buffers so far.
    pub allocated: u64,
    /// Bytes of live buffers by purpose.
    by_purpose: [u64; Purpose::COUNT],
    /// The same at the peak.
    at_peak: [u64; Purpose::COUNT],
    /// Whether buffers that only command buffers keep are told apart.
    pub following: bool,
    /// The largest single buffer.
    pub largest: u64,
    /// What buffers allocated now are for.
    pub allocating: Purpose,
    recycled: Option<Recycled>,
    /// Operations so far that look whether they have seen a buffer.
    looks: u32,
}

impl Buffers {
    /// No buffers, with room for `capacity`.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { list: Vec::with_capacity(capacity), ..Self::default() }
    }

    /// A buffer that nobody holds yet.
    pub fn allocate(&mut self, bytes: u64) -> BufferId {
        let size = pages::round(bytes);
        self.active += size;
        self.allocated += size;
        self.largest = self.largest.max(size);
        let purpose = self.allocating;
        self.by_purpose[purpose as usize] += size;
        if self.active > self.peak {
            self.peak = self.active;
            self.at_peak = self.by_purpose;
        }
        if let Some(r) = &mut self.recycled {
            r.take(size);
            r.peak = r.peak.max(self.active + r.bytes);
        }
        let buffer = Buffer { size, refs: 0, bound: u32::MAX, purpose, kept: 0, seen: 0 };
        match self.free.pop() {
            Some(i) => {
                self.list[i as usize] = buffer;
                BufferId::new(i as usize)
            }
            None => {
                self.list.push(buffer);
                BufferId::new(self.list.len() - 1)
            }
        }
    }

    pub fn hold(&mut self, b: BufferId) {
        self.list[b.index()].refs += 1;
    }

    pub fn drop_ref(&mut self, b: BufferId) {
        let buffer = &mut self.list[b.index()];
        buffer.refs -= 1;
        if buffer.refs == 0 {
            let Buffer { size, purpose, .. } = *buffer;
            self.active -= size;
            self.by_purpose[purpose as usize] -= size;
            if let Some(r) = &mut self.recycled {
                r.keep(size);
            }
            self.free.push(b.index() as u32);
        } else if self.following && buffer.refs == buffer.kept {
            self.mark(b, Purpose::RunAhead);
        }
    }

    /// Bytes at the peak of the buffers for a purpose.
    pub fn at_peak(&self, purpose: Purpose) -> u64 {
        self.at_peak[purpose as usize]
    }

    /// Says that all buffers are for the same.
    pub fn all_for(&mut self, purpose: Purpose) {
        self.list.iter_mut().for_each(|b| b.purpose = purpose);
        self.by_purpose = [0; Purpose::COUNT];
        self.by_purpose[purpose as usize] = self.active;
    }

    /// Says what a buffer is for from now on.
    pub fn mark(&mut self, b: BufferId, purpose: Purpose) {
        let buffer = &mut self.list[b.index()];
        let before = std::mem::replace(&mut buffer.purpose, purpose);
        self.by_purpose[before as usize] -= buffer.size;
        self.by_purpose[purpose as usize] += buffer.size;
    }

    /// A command buffer keeps a buffer.
    pub fn keep(&mut self, b: BufferId) {
        self.list[b.index()].kept += 1;
    }

    /// A command buffer has completed and lets a buffer go.
    pub fn let_go(&mut self, b: BufferId) {
        self.list[b.index()].kept -= 1;
        self.drop_ref(b);
    }

    /// From now on, follows the buffers that MLX keeps for reuse.
    pub fn follow_recycled(&mut self) {
        self.recycled.get_or_insert_with(Recycled::default).peak = self.active;
    }

    /// `mx.clear_cache()`.
    pub fn clear_recycled(&mut self) {
        if let Some(r) = &mut self.recycled {
            r.pool.clear();
            r.bytes = 0;
        }
    }

    /// Most bytes of live and kept buffers together, if they are followed.
    pub fn resident_peak(&self) -> Option<u64> {
        self.recycled.as_ref().map(|r| r.peak)
    }

    /// Whether a buffer has not been looked at since [`Buffers::look_anew`].
    fn first_look(&mut self, b: BufferId) -> bool {
        std::mem::replace(&mut self.list[b.index()].seen, self.looks) != self.looks
    }

    fn look_anew(&mut self) {
        self.looks += 1;
    }

    pub fn size(&self, b: BufferId) -> u64 {
        self.list[b.index()].size
    }

    pub fn refs(&self, b: BufferId) -> u32 {
        self.list[b.index()].refs
    }

    /// Marks a buffer as bound by a command buffer; whether it was not yet.
    pub(super) fn bind(&mut self, b: BufferId, command_buffer: u32) -> bool {
        let buffer = &mut self.list[b.index()];
        std::mem::replace(&mut buffer.bound, command_buffer) != command_buffer
    }
}

impl Replay<'_> {
    /// A new buffer for an array, row contiguous.
    pub(super) fn allocate(&mut self, a: ArrayId) {
        let array = &mut self.arrays[a.index()];
        array.set_dense();
        let buffer = self.buffers.allocate(array.bytes());
        self.buffers.hold(buffer);
        array.buffer = buffer;
    }

    /// A new buffer with the layout of another array.
    pub(super) fn allocate_like(&mut self, a: ArrayId, like: ArrayId) {
        let like = self.arrays[like.index()];
        let array = &mut self.arrays[a.index()];
        array.strides = like.strides;
        array.data_size = like.data_size;
        array.flags = like.flags;
        let buffer = self.buffers.allocate(like.data_size * array.item());
        self.buffers.hold(buffer);
        array.buffer = buffer;
    }

    /// The array refers to the buffer of another one: a view, or a taken-over input.
    pub(super) fn share(&mut self, a: ArrayId, from: ArrayId) {
        let from = self.arrays[from.index()];
        self.buffers.hold(from.buffer);
        let array = &mut self.arrays[a.index()];
        array.buffer = from.buffer;
        array.strides = from.strides;
        array.data_size = from.data_size;
        array.flags = from.flags;
        array.origin = from.origin;
    }

    /// `array::is_donatable`: nobody else refers to the array or to its data.
    pub(super) fn donatable(&self, a: ArrayId) -> bool {
        let users = &self.users[a.index()];
        let alone = users.readers == 1 && users.handles == 0;
        alone && self.buffers.refs(self.arrays[a.index()].buffer) == 1
    }

    /// `is_donatable(in, out)`: also the same item size, and not much larger than the output.
    pub(super) fn reusable(&self, a: ArrayId, out: ArrayId) -> bool {
        let (x, o) = (&self.arrays[a.index()], &self.arrays[out.index()]);
        self.donatable(a)
            && x.item() == o.item()
            && self.buffers.size(x.buffer) <= o.bytes() + pages::PAGE
    }

    /// An array that nobody refers to yet.
    pub(super) fn array(&mut self, shape: Shape, dtype: DType) -> ArrayId {
        let id = ArrayId::new(self.arrays.len());
        self.arrays.push(ReplayArray::new(shape, dtype));
        self.users.push(Users::NONE);
        id
    }

    /// A scratch array that lives until the command buffer completes.
    pub(super) fn temporary(&mut self, shape: Shape, dtype: DType) -> ArrayId {
        let id = self.array(shape, dtype);
        let purpose = self.buffers.allocating;
        if self.buffers.following {
            self.buffers.allocating = Purpose::RunAhead;
        }
        self.allocate(id);
        self.buffers.allocating = purpose;
        // The allocation's reference belongs to the command buffer now.
        let buffer = self.arrays[id.index()].buffer;
        self.buffers.keep(buffer);
        self.commands.keep(buffer);
        id
    }

    /// A row-contiguous temporary copy.
    pub(super) fn copied(&mut self, a: ArrayId) -> ArrayId {
        let array = self.arrays[a.index()];
        let copy = self.temporary(array.shape, array.dtype);
        self.dispatch(&[a], &[copy], 1);
        self.current.copied_bytes += array.bytes();
        copy
    }

    /// An operation keeps its inputs (and all outputs but the first) until its command buffer completes.
    pub(super) fn hold_inputs(&mut self, inputs: Range<usize>, outputs: Range<usize>) {
        let main = self.arrays[self.links[outputs.start].index()].buffer;
        self.buffers.look_anew();
        for i in inputs.chain(outputs.start + 1..outputs.end) {
            let buffer = self.arrays[self.links[i].index()].buffer;
            if buffer != BufferId::NONE && buffer != main && self.buffers.first_look(buffer) {
                self.hold(buffer);
            }
        }
    }

    pub(super) fn release_if_unused(&mut self, a: ArrayId) {
        if !self.users[a.index()].are_gone() {
            return;
        }
        let maker = std::mem::replace(&mut self.users[a.index()].maker, NodeId::NONE);
        let buffer = std::mem::replace(&mut self.arrays[a.index()].buffer, BufferId::NONE);
        if buffer != BufferId::NONE {
            self.buffers.drop_ref(buffer);
        } else if maker != NodeId::NONE {
            // Never evaluated: its operation goes when none of its outputs is wanted, and its inputs lose a reader.
            let mut outputs = self.node_outputs(maker);
            if !outputs.any(|i| self.users[self.links[i].index()].maker != NodeId::NONE) {
                self.detach(maker);
            }
        }
    }

    /// An operation gives up its inputs.
    pub(super) fn detach(&mut self, n: NodeId) {
        if std::mem::replace(&mut self.nodes[n.index()].done, true) {
            return;
        }
        for i in self.node_inputs(n) {
            let a = self.links[i];
            self.users[a.index()].readers -= 1;
            self.release_if_unused(a);
        }
    }

    /// Frees an output that nothing reads.
    pub(super) fn drop_if_unread(&mut self, a: ArrayId) {
        let array = &mut self.arrays[a.index()];
        if self.users[a.index()].are_gone() && array.evaluated() {
            let buffer = std::mem::replace(&mut array.buffer, BufferId::NONE);
            self.buffers.drop_ref(buffer);
        }
    }
}
