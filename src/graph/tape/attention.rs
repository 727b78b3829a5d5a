//! Rotary embedding, attention and custom kernels.

use super::routing::{Asked, Way};
use super::{Source, Tape, Var};
use crate::graph::op::{Binary, Kernel, Op, Rope};
use crate::graph::shape::Shape;
use crate::model::DType;

/// The mask of an attention call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Every query sees every key.
    None,
    /// Built into the kernel: a query sees the keys up to its own position.
    Causal,
    /// An array that broadcasts to `[batch, heads, queries, keys]`: true where a query sees a key, or a bias.
    Array(Var),
}

impl Tape<'_> {
    /// `mx.fast.rope`, with the position as an array if the model passes one, and the frequency table `freqs` where
    /// the rope has one.
    pub fn rope(&self, x: Var, rope: Rope, offset: Option<Var>, freqs: Option<Var>) -> Var {
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        if shape.rank() < 3 || rope.dims == 0 || rope.dims % 2 != 0 || rope.dims > shape.dim(-1) {
            return self.fail(format!("rope over {} of {} features", rope.dims, shape.dim(-1)));
        }
        let mut inputs = vec![x];
        inputs.extend(offset);
        inputs.extend(freqs);
        self.push(Op::Rope(Box::new(rope)), &inputs, shape, dtype)
    }

    /// `mx.fast.scaled_dot_product_attention`: one kernel, or the unfused steps MLX falls back to.
    pub fn attention(
        &self,
        q: Var,
        k: Var,
        v: Var,
        scale: f64,
        mask: Mask,
        sinks: Option<Var>,
    ) -> Var {
        let (sq, sk, sv) = (self.shape(q), self.shape(k), self.shape(v));
        let fits = sq.rank() == 4
            && sk.rank() == 4
            && sv.rank() == 4
            && sq.dim(3) == sk.dim(3)
            && sk.dim(1) != 0
            && sq.dim(1) % sk.dim(1) == 0
            && sk.dims()[..3] == sv.dims()[..3];
        if !fits {
            return self
                .fail(format!("attention over queries {sq:?}, keys {sk:?} and values {sv:?}"));
        }
        let dtype = self.dtype(q).promote(self.dtype(k)).promote(self.dtype(v));
        let (q, k, v) = (self.astype(q, dtype), self.astype(k, dtype), self.astype(v, dtype));
        let mask = self.full_mask(mask, dtype, &sq, &sk);
        let array = match mask {
            Mask::Array(m) => Some(m),
            Mask::None | Mask::Causal => None,
        };
        let causal = mask == Mask::Causal;
        self.note_heads([sq.dim(3), sv.dim(3)]);
        let asked = Asked {
            queries: &sq,
            keys: &sk,
            values: &sv,
            dtype,
            causal,
            array_mask: array.is_some(),
            sinks: sinks.is_some(),
        };
        match self.routing.way(asked) {
            Way::Fused => {}
            Way::Blocked(rows) => return self.blocked_attention([q, k, v], scale, mask, rows),
            Way::Scores => {
                return self.scores(|t| t.unfused_attention([q, k, v], scale, mask, sinks, dtype));
            }
        }
        let mut inputs = vec![q, k, v];
        inputs.extend(array);
        if let Some(s) = sinks {
            inputs.push(self.astype(s, dtype));
        }
        let op = Op::Attention {
            scale: scale as f32,
            causal,
            mask: array.is_some(),
            sinks: sinks.is_some(),
        };
        self.push(op, &inputs, sq.with(3, sv.dim(3)), dtype)
    }

    fn full_mask(&self, mask: Mask, dtype: DType, q: &Shape, k: &Shape) -> Mask {
        let Mask::Array(m) = mask else { return mask };
        let m = if self.dtype(m) == DType::Bool { m } else { self.astype(m, dtype) };
        Mask::Array(self.broadcast_to(m, q.with(3, k.dim(2))))
    }

    /// Attention of a chunk whose rows are processed in blocks, each by the unfused steps: only the scores of a few
    /// blocks are there at a time.
    fn blocked_attention(&self, [q, k, v]: [Var; 3], scale: f64, mask: Mask, rows: u32) -> Var {
        let (dtype, length, keys) = (self.dtype(q), self.dim(q, 2), self.dim(k, 2));
        let mut blocks = Vec::new();
        let mut start = 0;
        while start < length {
            let end = start.saturating_add(rows).min(length);
            // A block sees the keys up to its last row.
            let seen = keys.saturating_sub(length - end);
            let block = self.slice(q, 2, start, end);
            let (k, v) = (self.slice(k, 2, 0, seen), self.slice(v, 2, 0, seen));
            let block =
                self.scores(|t| t.unfused_attention([block, k, v], scale, mask, None, dtype));
            blocks.push(block);
            start = end;
        }
        self.concat(&blocks, 2)
    }

    fn unfused_attention(
        &self,
        [q, k, v]: [Var; 3],
        scale: f64,
        mask: Mask,
        sinks: Option<Var>,
        dtype: DType,
    ) -> Var {
        let (sq, sk) = (self.shape(q), self.shape(k));
        let (heads, repeats) = (i64::from(sk.dim(1)), i64::from(sq.dim(1) / sk.dim(1)));
        let factor = self.scalar(scale, dtype);
        let mut q = self.mul(factor, q);
        let (mut k, mut v) = (k, v);
        if repeats > 1 {
            q = self.unflatten(q, 1, &[heads, repeats]);
            k = self.expand_dims(k, &[2]);
            v = self.expand_dims(v, &[2]);
        }
        let kt = self.swapaxes(k, -1, -2);
        let mut scores = self.matmul(q, kt);
        let mask = match mask {
            Mask::None => None,
            Mask::Causal => Some(self.causal_mask(sq.dim(2), sk.dim(2))),
            Mask::Array(m) => Some(m),
        };
        if let Some(mut m) = mask {
            if repeats > 1 && self.shape(m).rank() >= 3 {
                m = if self.dim(m, -3) == 1 {
                    self.expand_dims(m, &[-3])
                } else {
                    self.unflatten(m, -3, &[heads, repeats])
                };
            }
            scores = if self.dtype(m) == DType::Bool {
                let low = self.scalar(dtype.lowest(), dtype);
                self.select(m, scores, low)
            } else {
                self.add(scores, m)
            };
        }
        if let Some(s) = sinks {
            scores = self.prepend_sinks(scores, s, heads, repeats, dtype);
        }
        let mut weights = self.softmax(scores, true);
        if sinks.is_some() {
            let n = self.dim(weights, -1);
            weights = self.slice(weights, -1, 1, n);
        }
        let out = self.matmul(weights, v);
        if repeats > 1 { self.flatten(out, 1, 2) } else { out }
    }

    fn prepend_sinks(
        &self,
        scores: Var,
        sinks: Var,
        heads: i64,
        repeats: i64,
        dtype: DType,
    ) -> Var {
        let s = self.astype(sinks, dtype);
        let mut s = self.expand_dims(s, &[0, 2, 3]);
        if self.shape(scores).rank() == 5 {
            s = self.unflatten(s, 1, &[heads, repeats]);
        }
        let wide = self.shape(scores).with(-1, 1);
        let s = self.broadcast_to(s, wide);
        self.concat(&[s, scores], -1)
    }

    /// The mask that unfused attention builds: `[queries, keys]`, true up to the query's own position.
    fn causal_mask(&self, queries: u32, keys: u32) -> Var {
        let rows = self.arange(keys.saturating_sub(queries), keys);
        let rows = self.expand_dims(rows, &[1]);
        let columns = self.arange(0, keys);
        let columns = self.expand_dims(columns, &[0]);
        self.binary(Binary::GreaterEqual, rows, columns)
    }

    /// A custom Metal kernel with two outputs, the result and the new state.
    pub fn kernel(
        &self,
        kernel: Kernel,
        inputs: &[Var],
        y: (Shape, DType),
        state: (Shape, DType),
    ) -> (Var, Var) {
        let [out, next] = self.kernel_many(kernel, inputs, [y, state]);
        (out, next)
    }

    /// A custom Metal kernel with several outputs.
    pub fn kernel_many<const N: usize>(
        &self,
        kernel: Kernel,
        inputs: &[Var],
        outputs: [(Shape, DType); N],
    ) -> [Var; N] {
        let outs = outputs.map(|(shape, dtype)| self.value(shape, dtype, Source::Node));
        self.record(Op::Custom(kernel), inputs, &outs);
        outs
    }

    /// A custom Metal kernel with one output.
    pub fn kernel_one(&self, kernel: Kernel, inputs: &[Var], shape: Shape, dtype: DType) -> Var {
        self.push(Op::Custom(kernel), inputs, shape, dtype)
    }
}
