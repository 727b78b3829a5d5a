//! MLX's evaluation on Metal, reduced to what decides memory and kernel counts.
//!
//! A [`Replay`] takes traced calls and goes through them the way MLX encodes them: order of evaluation, buffer
//! allocation and reuse, strides of every intermediate, extra copies, kernel dispatches and command buffers. Nothing
//! is computed and nothing is fitted. The rules are those of MLX 0.32:
//!
//! * order: `eval_impl` (`mlx/transforms.cpp`), breadth first with a width limit of 20, executed from the back;
//! * allocation: buffers above 16 KiB are rounded up to whole pages (`mlx/backend/metal/allocator.cpp`);
//! * lifetime: an operation keeps its inputs until its command buffer has completed (`mlx/backend/metal/eval.cpp`);
//!   the GPU is assumed to be slower than the encoding, so a command buffer completes only when MLX waits for it;
//! * command buffers: committed when more kernels are encoded, or more elements bound, than the GPU's class allows
//!   (`mlx/backend/metal/device.cpp`); with the 11th outstanding one MLX waits for the oldest;
//! * reuse: an output takes over the buffer of an input that nobody else holds, under the primitive's conditions.

mod commands;
mod copies;
mod elementwise;
mod encode;
mod gpu;
mod layout;
mod matrix;
mod memory;
mod order;
mod purpose;
mod stand_ins;
mod training;
mod views;

pub use gpu::{ArchClass, Gpu};
pub use memory::{ArrayId, ArrayOrigin};
pub use purpose::Purpose;
pub use stand_ins::Original;

use crate::graph::Graph;
use crate::graph::tape::{Source, Trace, ValueId};
use commands::CommandBuffers;
use memory::{BufferId, NodeId, ReplayArray, Users};
use std::cell::RefCell;
use std::rc::Rc;

/// What one operation cost, as an observer sees it.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    /// The traced call.
    pub trace: &'a Trace,
    /// The operation's number in the trace.
    pub node: usize,
    /// Kernels dispatched; 0 for a view.
    pub dispatches: u32,
    /// Bytes copied only to change a layout or to keep an old version.
    pub copied_bytes: u64,
    /// What each input was: where its data comes from and how many distinct bytes it spans.
    pub reads: &'a [Read],
}

/// An input as an operation saw it.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// Where the data comes from.
    pub origin: ArrayOrigin,
    /// Distinct bytes; broadcast axes count once.
    pub bytes: u64,
}

type Observer<'o> = Box<dyn FnMut(Encoded<'_>) + 'o>;

/// Memory and command buffers of one process that uses MLX on one GPU.
pub struct Replay<'o> {
    gpu: Gpu,
    arrays: Vec<ReplayArray>,
    /// By array.
    users: Vec<Users>,
    buffers: memory::Buffers,
    commands: CommandBuffers,
    traces: Vec<Rc<Trace>>,
    nodes: Vec<Pending>,
    links: Vec<ArrayId>,
    /// Buffers of the model's tensors, four per module.
    params: Vec<[BufferId; 4]>,
    observer: Option<Observer<'o>>,
    stand_ins: stand_ins::StandIns,
    /// What values are for, by trace, where that is followed.
    purposes: Vec<Rc<[Purpose]>>,
    peak_at: Option<(u32, ValueId)>,
    /// The operation being encoded.
    current: Cost,
    reads: Vec<Read>,
}

/// An operation that waits for evaluation.
#[derive(Clone, Copy, Debug)]
struct Pending {
    trace: u32,
    node: u32,
    first_link: u32,
    inputs: u16,
    outputs: u16,
    /// How often the evaluation order still has to meet it; 0 = not in the present order.
    degree: u32,
    done: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    dispatches: u32,
    copied_bytes: u64,
}

/// The allocations of a replay that has ended, for the next one on the same thread.
#[derive(Default)]
struct Spare {
    arrays: Vec<ReplayArray>,
    users: Vec<Users>,
    nodes: Vec<Pending>,
    links: Vec<ArrayId>,
    params: Vec<[BufferId; 4]>,
}

thread_local! {
    static SPARE: RefCell<Option<Spare>> = const { RefCell::new(None) };
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        let mut spare = Spare {
            arrays: std::mem::take(&mut self.arrays),
            users: std::mem::take(&mut self.users),
            nodes: std::mem::take(&mut self.nodes),
            links: std::mem::take(&mut self.links),
            params: std::mem::take(&mut self.params),
        };
        spare.arrays.clear();
        spare.users.clear();
        spare.nodes.clear();
        spare.links.clear();
        spare.params.clear();
        // At the end of a thread the store may be gone already; then the allocations are freed as usual.
        let _ = SPARE.try_with(|kept| kept.replace(Some(spare)));
    }
}

impl<'o> Replay<'o> {
    /// A process that has loaded the weights of a model.
    #[must_use]
    pub fn new(graph: &Graph, gpu: Gpu) -> Self {
        let Spare { arrays, users, nodes, links, params } = SPARE.take().unwrap_or_default();
        let mut replay = Self {
            gpu,
            arrays,
            users,
            buffers: memory::Buffers::with_capacity(4 * graph.params().modules().len()),
            commands: CommandBuffers::default(),
            traces: Vec::new(),
            nodes,
            links,
            params,
            observer: None,
            stand_ins: stand_ins::StandIns::default(),
            purposes: Vec::new(),
            peak_at: None,
            current: Cost::default(),
            reads: Vec::new(),
        };
        for module in graph.params().modules() {
            let mut ids = [BufferId::NONE; 4];
            for (part, shape, dtype) in module.tensors() {
                let id = replay.buffers.allocate(shape.elements() * dtype.bytes());
                replay.buffers.hold(id);
                ids[part as usize] = id;
            }
            replay.params.push(ids);
        }
        replay
    }

    /// Calls `observer` with the cost of every operation from now on.
    pub fn observe(&mut self, observer: impl FnMut(Encoded<'_>) + 'o) {
        self.observer = Some(Box::new(observer));
    }

    /// Bytes of live buffers.
    #[must_use]
    pub fn active_bytes(&self) -> u64 {
        self.buffers.active
    }

    /// Bytes of all buffers allocated so far, freed ones included.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.buffers.allocated
    }

    /// Most bytes of live buffers so far.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.buffers.peak
    }

    /// Bytes of attention scores at the peak.
    #[must_use]
    pub fn scores_at_peak(&self) -> u64 {
        self.buffers.at_peak(Purpose::Scores)
    }

    /// Bytes at the peak of the buffers for a purpose.
    #[must_use]
    pub fn at_peak(&self, purpose: Purpose) -> u64 {
        self.buffers.at_peak(purpose)
    }

    /// The operation during which the peak occurred, by the first value that it made and the number of its trace.
    #[must_use]
    pub const fn peak_at(&self) -> Option<(u32, ValueId)> {
        self.peak_at
    }

    /// The largest single buffer so far.
    #[must_use]
    pub fn largest_buffer(&self) -> u64 {
        self.buffers.largest
    }

    /// From now on, follows the freed buffers that MLX keeps for reuse.
    pub fn follow_recycled(&mut self) {
        self.buffers.follow_recycled();
    }

    /// `mx.clear_cache()`: gives the freed buffers back.
    pub fn clear_recycled(&mut self) {
        self.buffers.clear_recycled();
    }

    /// Most bytes of live and kept buffers together, where they are followed.
    #[must_use]
    pub fn resident_peak(&self) -> Option<u64> {
        self.buffers.resident_peak()
    }

    /// Command buffers committed so far.
    #[must_use]
    pub fn command_buffers(&self) -> u32 {
        self.commands.committed
    }

    /// Kernels encoded so far.
    #[must_use]
    pub fn kernels(&self) -> u64 {
        self.commands.encoded
    }

    /// Bytes of the buffers of some arrays, each buffer counted once.
    #[must_use]
    pub fn bytes_of(&self, arrays: impl Iterator<Item = ArrayId>) -> u64 {
        let mut ids: Vec<BufferId> = arrays.map(|a| self.arrays[a.index()].buffer).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().filter(|&b| b != BufferId::NONE).map(|b| self.buffers.size(b)).sum()
    }

    /// Builds the operations of a traced call. Cache inputs are the given arrays, by slot. Returns the results and
    /// the arrays of the cache after the call; the caller holds a reference to each.
    pub fn load(
        &mut self,
        trace: Trace,
        tokens: ArrayId,
        cache: &[(u32, ArrayId)],
    ) -> (Vec<ArrayId>, Vec<(u32, ArrayId)>) {
        let number = self.traces.len() as u32;
        self.arrays.reserve(trace.values().len());
        self.users.reserve(trace.values().len());
        self.nodes.reserve(trace.nodes().len());
        self.links.reserve(3 * trace.nodes().len());
        let map: Vec<ArrayId> =
            trace.values().iter().map(|value| self.input(value, tokens, cache)).collect();
        let at = |v: crate::graph::tape::ValueId| map[v.index()];
        for (i, node) in trace.nodes().iter().enumerate() {
            let id = NodeId::new(self.nodes.len());
            let first_link = self.links.len() as u32;
            let (inputs, outputs) = (trace.inputs(node), trace.outputs(node));
            for &v in inputs {
                let a = at(v);
                self.users[a.index()].readers += 1;
                self.links.push(a);
            }
            for &v in outputs {
                let a = at(v);
                self.users[a.index()].maker = id;
                self.links.push(a);
            }
            self.nodes.push(Pending {
                trace: number,
                node: i as u32,
                first_link,
                inputs: inputs.len() as u16,
                outputs: outputs.len() as u16,
                degree: 0,
                done: false,
            });
        }
        let results: Vec<ArrayId> = trace.results.iter().map(|&v| at(v)).collect();
        let state: Vec<(u32, ArrayId)> = trace.cache.iter().map(|&(s, v)| (s, at(v))).collect();
        for a in results.iter().chain(state.iter().map(|(_, a)| a)) {
            self.users[a.index()].handles += 1;
        }
        self.traces.push(Rc::new(trace));
        (results, state)
    }

    fn input(
        &mut self,
        value: &crate::graph::tape::Value,
        tokens: ArrayId,
        cache: &[(u32, ArrayId)],
    ) -> ArrayId {
        match value.source {
            Source::Tokens => return tokens,
            Source::Cache(slot) => {
                if let Some(&(_, a)) = cache.iter().find(|(s, _)| *s == slot) {
                    self.arrays[a.index()].origin = ArrayOrigin::Cache(slot);
                    return a;
                }
            }
            _ => {}
        }
        let id = self.array(value.shape, value.dtype);
        match value.source {
            Source::Param(module, part) => {
                let buffer = self.params[module.index()][part as usize];
                self.buffers.hold(buffer);
                let a = &mut self.arrays[id.index()];
                a.buffer = buffer;
                a.origin = ArrayOrigin::Param(module, part);
                a.set_dense();
                self.users[id.index()].handles = 1;
            }
            Source::Constant(_)
            | Source::Table(_)
            | Source::Derived(_)
            | Source::Integers(_)
            | Source::Cache(_)
            | Source::Invalid => {
                self.allocate(id);
            }
            Source::Node | Source::Tokens => {}
        }
        id
    }

    /// An evaluated array that the caller holds, such as the token ids.
    pub fn held(&mut self, value: crate::graph::tape::Value) -> ArrayId {
        let id = self.array(value.shape, value.dtype);
        self.allocate(id);
        self.users[id.index()].handles = 1;
        self.arrays[id.index()].origin = match value.source {
            Source::Cache(slot) => ArrayOrigin::Cache(slot),
            _ => ArrayOrigin::None,
        };
        id
    }

    /// The caller gives up one reference.
    pub fn release(&mut self, a: ArrayId) {
        self.users[a.index()].handles -= 1;
        self.release_if_unused(a);
    }

    /// `mx.eval` (with `wait`) or `mx.async_eval` of some arrays.
    pub fn evaluate(&mut self, outputs: &[ArrayId], wait: bool) {
        for node in self.order(outputs) {
            self.run(node);
        }
        self.renew_stand_ins();
        self.stand_in_late();
        self.commit(false);
        if wait {
            self.wait_until(0);
        }
    }

    /// Waits until at most `outstanding` command buffers have not completed.
    pub fn wait_until(&mut self, outstanding: usize) {
        while self.commands.in_flight() > outstanding {
            self.complete_one();
        }
    }

    /// Forgets everything that has been evaluated but the given arrays, which become the first ones. Only sound when
    /// nothing is outstanding.
    pub fn compact(&mut self, keep: &mut [ArrayId]) {
        let kept: Vec<ReplayArray> = keep.iter().map(|a| self.arrays[a.index()]).collect();
        let users: Vec<Users> = keep.iter().map(|a| self.users[a.index()]).collect();
        self.arrays.clear();
        self.arrays.extend(kept);
        self.users.clear();
        self.users.extend(users);
        keep.iter_mut().enumerate().for_each(|(i, a)| *a = ArrayId::new(i));
        self.nodes.clear();
        self.links.clear();
        self.traces.clear();
    }

    fn node_inputs(&self, n: NodeId) -> std::ops::Range<usize> {
        let p = &self.nodes[n.index()];
        let first = p.first_link as usize;
        first..first + usize::from(p.inputs)
    }

    fn node_outputs(&self, n: NodeId) -> std::ops::Range<usize> {
        let p = &self.nodes[n.index()];
        let first = p.first_link as usize + usize::from(p.inputs);
        first..first + usize::from(p.outputs)
    }
}
