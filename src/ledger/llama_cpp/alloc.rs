//! ggml's allocator of compute graphs (`ggml/src/ggml-alloc.c`): how large the buffer is in which the intermediate
//! tensors of a graph live, one after the other or one in place of another.
//!
//! Inputs are placed first. A tensor takes the smallest free block that holds it, else it goes behind all others; it is
//! freed with its last reader. Operations that ggml lists as possible in place take over the memory of a source that
//! nothing else reads.

/// Alignment of tensors in a buffer.
const ALIGNMENT: u64 = 32;

/// A tensor of a graph, by its place in the order of execution.
pub(super) type TensorId = usize;

/// What a tensor is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TensorOrigin {
    /// Written before the graph runs.
    Input,
    /// Computed into memory of its own.
    Computed,
    /// Computed in place of a source where that is possible.
    InPlace,
    /// A source in another shape.
    View(TensorId),
}

struct PlannedTensor {
    bytes: u64,
    origin: TensorOrigin,
    sources: Vec<TensorId>,
    kept: bool,
}

/// A compute graph: the tensors in the order in which they are computed. Weights and caches, which have buffers of their
/// own, are not among them.
#[derive(Default)]
pub(super) struct ComputeGraph {
    tensors: Vec<PlannedTensor>,
    /// Whether inputs stay where they are until the graph ends.
    inputs_stay: bool,
}

impl ComputeGraph {
    /// An empty graph; on the CPU inputs stay until the graph ends, copies of them on the GPU do not.
    pub fn new(inputs_stay: bool) -> Self {
        Self { tensors: Vec::new(), inputs_stay }
    }

    fn add(&mut self, bytes: u64, origin: TensorOrigin, sources: &[TensorId]) -> TensorId {
        let bytes = bytes.div_ceil(ALIGNMENT) * ALIGNMENT;
        self.tensors.push(PlannedTensor { bytes, origin, sources: sources.to_vec(), kept: false });
        self.tensors.len() - 1
    }

    /// An input.
    pub fn input(&mut self, bytes: u64) -> TensorId {
        self.add(bytes, TensorOrigin::Input, &[])
    }

    /// The output of an operation.
    pub fn computed(&mut self, bytes: u64, sources: &[TensorId]) -> TensorId {
        self.add(bytes, TensorOrigin::Computed, sources)
    }

    /// The output of an operation that may take the place of a source: sums, products, norms, rotations, softmax.
    pub fn in_place(&mut self, bytes: u64, sources: &[TensorId]) -> TensorId {
        self.add(bytes, TensorOrigin::InPlace, sources)
    }

    /// A tensor in another shape.
    pub fn view(&mut self, of: TensorId) -> TensorId {
        let bytes = self.tensors.get(of).map_or(0, |t| t.bytes);
        self.part(of, bytes)
    }

    /// A part of a tensor.
    pub fn part(&mut self, of: TensorId, bytes: u64) -> TensorId {
        let root = self.root(of);
        self.add(bytes, TensorOrigin::View(root), &[of])
    }

    /// What is written into a cache: it holds no memory of its own.
    pub fn store(&mut self, sources: &[TensorId]) {
        self.add(0, TensorOrigin::Computed, sources);
    }

    /// Keeps a result for after the graph.
    pub fn keep(&mut self, tensor: TensorId) {
        if let Some(t) = self.tensors.get_mut(tensor) {
            t.kept = true;
        }
    }

    fn root(&self, tensor: TensorId) -> TensorId {
        match self.tensors.get(tensor).map(|t| t.origin) {
            Some(TensorOrigin::View(root)) => root,
            _ => tensor,
        }
    }

    /// Bytes of the buffer that the graph needs.
    pub fn buffer_bytes(&self) -> u64 {
        let mut run = Allocation::of(self);
        for id in 0..self.tensors.len() {
            if self.tensors[id].origin == TensorOrigin::Input {
                run.place(id);
            }
        }
        for id in 0..self.tensors.len() {
            if self.tensors[id].origin != TensorOrigin::Input {
                run.place(id);
            }
            for &source in &self.tensors[id].sources {
                run.read(source);
            }
        }
        run.blocks.highest
    }
}

/// An execution of a graph: where its tensors lie.
struct Allocation<'g> {
    graph: &'g ComputeGraph,
    readers: Vec<u32>,
    views: Vec<u32>,
    offsets: Vec<Option<u64>>,
    blocks: FreeBlocks,
}

impl<'g> Allocation<'g> {
    fn of(graph: &'g ComputeGraph) -> Self {
        let n = graph.tensors.len();
        let (mut readers, mut views) = (vec![0; n], vec![0; n]);
        for t in &graph.tensors {
            t.sources.iter().for_each(|&s| readers[s] += 1);
            if let TensorOrigin::View(root) = t.origin {
                views[root] += 1;
            }
        }
        Self { graph, readers, views, offsets: vec![None; n], blocks: FreeBlocks::default() }
    }

    fn place(&mut self, id: TensorId) {
        let t = &self.graph.tensors[id];
        match t.origin {
            TensorOrigin::View(_) => return,
            TensorOrigin::InPlace if self.takes_over(id) => return,
            _ => {}
        }
        self.offsets[id] = Some(self.blocks.take(t.bytes));
    }

    /// Puts a tensor in place of a source, if there is one that nothing else reads; what the source has more is free then
    /// (`ggml_gallocr_free_extra_space`).
    fn takes_over(&mut self, id: TensorId) -> bool {
        let t = &self.graph.tensors[id];
        for &source in &t.sources {
            let of = &self.graph.tensors[source];
            let root = self.graph.root(source);
            let alone = if root == source {
                self.views[root] == 0
            } else {
                self.views[source] == 0 && self.views[root] == 1 && self.readers[root] == 0
            };
            let kept = of.kept || self.graph.tensors[root].kept;
            if of.bytes == t.bytes
                && self.readers[source] == 1
                && alone
                && !kept
                && let Some(offset) = self.offsets[root].take()
            {
                self.offsets[id] = Some(offset);
                let whole = self.graph.tensors[root].bytes;
                if whole > t.bytes {
                    self.blocks.give_back(offset + t.bytes, whole - t.bytes);
                }
                return true;
            }
        }
        false
    }

    /// Notes that a tensor was read by one of its readers, and frees it after the last.
    fn read(&mut self, source: TensorId) {
        self.readers[source] -= 1;
        if self.readers[source] > 0 || self.views[source] > 0 {
            return;
        }
        let root = self.graph.root(source);
        if root != source {
            self.views[root] -= 1;
            if self.views[root] > 0 || self.readers[root] > 0 {
                return;
            }
        }
        let t = &self.graph.tensors[root];
        if t.kept || (t.origin == TensorOrigin::Input && self.graph.inputs_stay) {
            return;
        }
        if let Some(offset) = self.offsets[root].take() {
            self.blocks.give_back(offset, t.bytes);
        }
    }
}

/// The free parts of a buffer, in their order; the last one has no end.
struct FreeBlocks {
    /// Offset and bytes.
    free: Vec<(u64, u64)>,
    highest: u64,
}

impl Default for FreeBlocks {
    fn default() -> Self {
        Self { free: vec![(0, u64::MAX / 2)], highest: 0 }
    }
}

impl FreeBlocks {
    fn take(&mut self, bytes: u64) -> u64 {
        let last = self.free.len() - 1;
        let mut best = last;
        for (i, &(_, n)) in self.free[..last].iter().enumerate() {
            if n >= bytes && (best == last || n <= self.free[best].1) {
                best = i;
            }
        }
        let (offset, n) = self.free[best];
        if n == bytes {
            self.free.remove(best);
        } else {
            self.free[best] = (offset + bytes, n - bytes);
        }
        self.highest = self.highest.max(offset + bytes);
        offset
    }

    fn give_back(&mut self, offset: u64, bytes: u64) {
        let at = self.free.partition_point(|&(o, _)| o < offset);
        self.free.insert(at, (offset, bytes));
        self.merge(at);
        if at > 0 {
            self.merge(at - 1);
        }
    }

    /// Joins a free part with the next one where they touch.
    fn merge(&mut self, at: usize) {
        if let (Some(&(o, n)), Some(&(next, m))) = (self.free.get(at), self.free.get(at + 1))
            && o + n == next
        {
            self.free[at] = (o, n + m);
            self.free.remove(at + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_after_the_last_reader() {
        let mut g = ComputeGraph::new(false);
        let x = g.input(64);
        let a = g.computed(64, &[x]);
        let b = g.computed(64, &[a]);
        let c = g.computed(64, &[b]);
        g.keep(c);
        assert_eq!(g.buffer_bytes(), 128);
        let mut g = ComputeGraph::new(true);
        let x = g.input(64);
        let a = g.computed(64, &[x]);
        let b = g.computed(64, &[a]);
        g.computed(64, &[b]);
        assert_eq!(g.buffer_bytes(), 192);
    }

    #[test]
    fn an_operation_in_place_takes_no_memory() {
        let mut g = ComputeGraph::new(false);
        let x = g.input(64);
        let a = g.computed(96, &[x]);
        let v = g.view(a);
        let b = g.in_place(96, &[v]);
        g.in_place(96, &[b]);
        assert_eq!(g.buffer_bytes(), 160);
        // Something else reads the source.
        let mut g = ComputeGraph::new(false);
        let x = g.input(64);
        let a = g.computed(96, &[x]);
        let b = g.in_place(96, &[a]);
        g.in_place(96, &[b, a]);
        assert_eq!(g.buffer_bytes(), 64 + 96 + 96);
    }

    #[test]
    fn an_operation_in_place_of_a_part_frees_the_rest() {
        let mut g = ComputeGraph::new(false);
        let x = g.input(64);
        let a = g.computed(128, &[x]);
        let part = g.part(a, 32);
        let b = g.in_place(32, &[part]);
        let c = g.computed(96, &[b]);
        g.keep(c);
        assert_eq!(g.buffer_bytes(), 64 + 128);
    }

    #[test]
    fn the_smallest_block_that_fits_is_taken() {
        let mut blocks = FreeBlocks::default();
        let all: Vec<u64> = [96, 32, 64, 32].into_iter().map(|n| blocks.take(n)).collect();
        blocks.give_back(all[0], 96);
        blocks.give_back(all[2], 64);
        assert_eq!(blocks.take(64), all[2]);
        assert_eq!(blocks.take(32), all[0]);
        assert_eq!(blocks.highest, 224);
    }
}
