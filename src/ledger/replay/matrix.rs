//! Matrix products, attention, convolutions and custom kernels.

use super::Replay;
use super::gpu::ArchClass;
use super::memory::ArrayId;
use crate::graph::shape::Shape;
use crate::model::DType;

type Ids = smallvec::SmallVec<[ArrayId; 12]>;

impl Replay<'_> {
    pub(super) fn attention(&mut self, ins: &[ArrayId], out: ArrayId) {
        let [q, k, v] = [ins[0], ins[1], ins[2]];
        let queries = self.arrays[q.index()];
        if queries.shape.dim(2) > 8 {
            let mut bound = Ids::new();
            for x in [q, k, v] {
                let dense = self.arrays[x.index()].stride(-1) == 1;
                bound.push(if dense { x } else { self.copied(x) });
            }
            self.allocate(out);
            let a = &mut self.arrays[out.index()];
            let dims = a.shape.dims();
            let (h, n, d) = (u64::from(dims[1]), u64::from(dims[2]), u64::from(dims[3]));
            a.strides[..4].copy_from_slice(&[n * h * d, d, h * d, 1]);
            a.flags.row = false;
            a.flags.col = false;
            bound.extend_from_slice(&ins[3..]);
            self.dispatch(&bound, &[out], 1);
            return;
        }
        let mut bound = Ids::from_slice(&[self.vector_queries(q)]);
        for x in [k, v] {
            let a = &self.arrays[x.index()];
            let heads = u64::from(a.shape.dim(1));
            let batch = a.shape.dims()[..2].contains(&1) || a.strides[0] == a.strides[1] * heads;
            let dense = a.stride(-1) == 1 && batch;
            bound.push(if dense { x } else { self.copied(x) });
        }
        let size = self.arrays[out.index()].size();
        let row = queries.flags.row;
        if bound[0] == q && row && queries.size() == size && self.donatable(q) {
            self.share(out, q);
        } else {
            self.allocate(out);
        }
        bound.extend_from_slice(&ins[3..]);
        self.vector_attention(bound, &queries.shape, k, out);
    }

    /// Queries of a decode step as the vector kernel takes them.
    fn vector_queries(&mut self, q: ArrayId) -> ArrayId {
        let a = self.arrays[q.index()];
        if a.flags.row {
            return q;
        }
        let dims = a.shape.dims();
        let one = usize::from(dims[0] == 1);
        let width = u64::from(dims[3]);
        let fits = (dims[0] == 1 || dims[1] == 1)
            && a.strides[3] == 1
            && a.strides[2] == width * u64::from(dims[one])
            && a.strides[one] == width;
        if fits { q } else { self.copied(q) }
    }

    /// One kernel, or two with partial results for long contexts.
    fn vector_attention(&mut self, mut bound: Ids, queries: &Shape, k: ArrayId, out: ArrayId) {
        let keys = self.arrays[k.index()].shape;
        let (length, repeats) = (keys.dim(2), queries.dim(1) / keys.dim(1).max(1));
        let large = matches!(self.gpu.class, ArchClass::Max | ArchClass::Ultra);
        if (large && length >= 1024) || (repeats > 1 && length >= 4096) {
            let blocks = self.attention_blocks(length, repeats * queries.dim(2));
            let shape = self.arrays[out.index()].shape;
            let dtype = self.arrays[bound[0].index()].dtype;
            let mut part = Shape::new(&shape.dims()[..3]);
            part.push(blocks);
            let mut wide = part;
            wide.push(shape.dim(3));
            bound.push(self.temporary(wide, dtype));
            bound.push(self.temporary(part, DType::F32));
            bound.push(self.temporary(part, DType::F32));
            self.dispatch(&bound, &[out], 2);
        } else {
            self.dispatch(&bound, &[out], 1);
        }
    }

    /// Blocks of keys of the two-pass kernel (`mlx/backend/metal/scaled_dot_product_attention.cpp`).
    fn attention_blocks(&self, keys: u32, simds: u32) -> u32 {
        match self.gpu.class {
            ArchClass::Max => match keys {
                _ if keys <= 1024 || simds <= 4 => 64,
                0..=8192 => 128,
                8193..=32_768 => 256,
                32_769..=65_536 => 512,
                _ => 1024,
            },
            ArchClass::Ultra if simds <= 2 && keys > 8192 => 256,
            ArchClass::Ultra if simds >= 6 && keys >= 16_384 => {
                if keys < 65_536 {
                    512
                } else {
                    1024
                }
            }
            ArchClass::Ultra => 128,
            ArchClass::Phone | ArchClass::Base => {
                if simds >= 4 {
                    64
                } else {
                    32
                }
            }
        }
    }

    /// `ensure_row_contiguous_matrix`: only the last two axes matter.
    fn matrix_contiguous(&mut self, x: ArrayId) -> ArrayId {
        let a = &self.arrays[x.index()];
        let dense = if a.shape.rank() < 2 {
            a.shape.rank() == 0 || a.strides[0] == 1
        } else {
            a.stride(-1) == 1 && a.stride(-2) == u64::from(a.shape.dim(-1))
        };
        if dense { x } else { self.copied(x) }
    }

    pub(super) fn quantized_matmul(
        &mut self,
        ins: &[ArrayId],
        out: ArrayId,
        group: u32,
        transpose: bool,
    ) {
        self.allocate(out);
        let bound: Ids = ins.iter().map(|&x| self.matrix_contiguous(x)).collect();
        let x = self.arrays[bound[0].index()];
        let w_rank = self.arrays[bound[1].index()].shape.rank();
        let o = self.arrays[out.index()];
        let k = u64::from(x.shape.dim(-1)).max(1);
        let n = u64::from(o.shape.dim(-1)).max(1);
        let m = if w_rank == 2 && x.flags.row { x.size() / k } else { x.shape.dim(-2).into() };
        let mut parts = 1;
        if transpose && m >= self.gpu.vector_limit(k, n) && o.size() == m * n {
            parts = (512 / (n.div_ceil(32) * m.div_ceil(32)).max(1)).max(1);
            let align = u64::from(group.max(32));
            parts = parts.min(k / align).max(1);
            while parts > 1 && k % (parts * align) != 0 {
                parts -= 1;
            }
        } else if !transpose && m < 4 && k >= 1024 {
            parts = if k > 8192 { 32 } else { 8 };
        }
        self.product(&bound, out, parts, o.dtype);
    }

    /// One product, or `parts` partial ones that a second kernel adds up.
    fn product(&mut self, bound: &[ArrayId], out: ArrayId, parts: u64, dtype: DType) {
        if parts <= 1 {
            self.dispatch(bound, &[out], 1);
            return;
        }
        let mut shape = self.arrays[out.index()].shape;
        shape.insert(0, parts as u32);
        let partial = self.temporary(shape, dtype);
        self.dispatch(bound, &[partial], 1);
        self.dispatch(&[partial], &[out], 1);
    }

    pub(super) fn gather_qmm(&mut self, ins: &[ArrayId], out: ArrayId) {
        self.allocate(out);
        let (arrays, indices) = ins.split_at(ins.len() - 2);
        let mut bound: Ids = arrays.iter().map(|&x| self.matrix_contiguous(x)).collect();
        bound.extend_from_slice(indices);
        self.dispatch(&bound, &[out], 1);
    }

    pub(super) fn matmul(&mut self, ins: &[ArrayId], out: ArrayId) {
        self.allocate(out);
        let (x, y) = (self.arrays[ins[0].index()].shape, self.arrays[ins[1].index()].shape);
        let (mut m, k, n) = (u64::from(x.dim(-2)), u64::from(x.dim(-1)), u64::from(y.dim(-1)));
        let (a, a_transposed) = self.transposable(ins[0], m == 1);
        let (b, _) = self.transposable(ins[1], n == 1);
        let mut batch = self.arrays[out.index()].size() / (m * n).max(1);
        let right = self.arrays[b.index()];
        let rank = right.shape.rank();
        let shared = right.shape.dims()[..rank - 2]
            .iter()
            .zip(&right.strides)
            .all(|(&d, &s)| d == 1 || s == 0);
        if batch > 1 && !a_transposed && self.arrays[a.index()].flags.row && shared {
            m *= batch;
            batch = 1;
        }
        let mut bound = Ids::from_slice(&[a, b]);
        let parts = if m.min(n) > 1 && batch == 1 { self.split_k(m, n, k) } else { 1 };
        if parts > 1 {
            let partial =
                self.temporary(Shape::new(&[parts as u32, m as u32, n as u32]), DType::F32);
            self.dispatch(&bound, &[partial], 1);
            self.dispatch(&[partial], &[out], 1);
            return;
        }
        bound.extend_from_slice(&ins[2..]);
        self.dispatch(&bound, &[out], 1);
    }

    /// `check_transpose`: a matrix may be row or column major, else it is copied.
    fn transposable(&mut self, x: ArrayId, vector: bool) -> (ArrayId, bool) {
        let a = &self.arrays[x.index()];
        let (row, col) = (a.stride(-2), a.stride(-1));
        if col == 1 && (!vector || row == u64::from(a.shape.dim(-1))) {
            (x, false)
        } else if row == 1 && (!vector || col == u64::from(a.shape.dim(-2))) {
            (x, true)
        } else {
            (self.copied(x), false)
        }
    }

    /// Number of partial results of a product with a long inner dimension (`mlx/backend/metal/matmul.cpp`).
    fn split_k(&self, m: u64, n: u64, k: u64) -> u64 {
        if self.gpu.nax {
            let wide = m.max(n);
            if k < 3 * wide && (wide > 1024 || k <= 2 * wide) {
                return 1;
            }
            let part = match k {
                0..=1024 => k / 2,
                1025..=2048 => 1024,
                2049..=4096 => 2048,
                _ => 4096,
            };
            return k.div_ceil(part.max(1));
        }
        let tiles = m.div_ceil(16) * n.div_ceil(16);
        let steps = k / 16;
        let large = matches!(self.gpu.class, ArchClass::Max | ArchClass::Ultra);
        let limit = if large { 2048 } else { 1024 };
        if tiles > limit || steps < 8 || k < m.max(n) {
            return 1;
        }
        (steps / tiles.max(1)).max(1).next_power_of_two().clamp(2, 32)
    }

    pub(super) fn convolution(&mut self, ins: &[ArrayId], out: ArrayId) {
        self.allocate(out);
        let bound: Ids = ins.iter().map(|&x| self.row_contiguous(x)).collect();
        self.dispatch(&bound, &[out], 1);
    }

    /// Custom kernels, (de)quantization: dense inputs, new outputs.
    pub(super) fn custom(&mut self, ins: &[ArrayId], outs: &[ArrayId]) {
        outs.iter().for_each(|&o| self.allocate(o));
        let bound: Ids = ins.iter().map(|&x| self.row_contiguous(x)).collect();
        self.dispatch(&bound, outs, 1);
    }

    pub(super) fn row_contiguous(&mut self, x: ArrayId) -> ArrayId {
        if self.arrays[x.index()].flags.row { x } else { self.copied(x) }
    }
}
