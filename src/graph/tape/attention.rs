//! Rotary embedding, attention and custom kernels.

use super::routing::{AskedKernels, Way};
use super::{Source, Tape, Var, concat};
use crate::graph::op::{Kernel, Op, Rope};
use crate::graph::shape::Shape;
use crate::model::DType;

/// The mask of an attention call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask<'t> {
    /// Every query sees every key.
    None,
    /// Built into the kernel: a query sees the keys up to its own position.
    Causal,
    /// An array that broadcasts to `[batch, heads, queries, keys]`: true where a query sees a key, or a bias.
    Array(Var<'t>),
}

impl<'t> Var<'t> {
    /// `mx.fast.rope`, with the position as an array if the model passes one, and the frequency table `freqs` where
    /// the rope has one.
    pub fn rope(self, rope: Rope, offset: Option<Var<'t>>, freqs: Option<Var<'t>>) -> Self {
        let t = self.tape;
        let (shape, dtype) = (self.shape(), self.dtype());
        if shape.rank() < 3 || rope.dims == 0 || rope.dims % 2 != 0 || rope.dims > shape.dim(-1) {
            return t.fail(format!("rope over {} of {} features", rope.dims, shape.dim(-1)));
        }
        let mut inputs = vec![self];
        inputs.extend(offset);
        inputs.extend(freqs);
        t.push(Op::Rope(Box::new(rope)), &inputs, shape, dtype)
    }

    /// `mx.fast.scaled_dot_product_attention`: one kernel, or the unfused steps MLX falls back to.
    pub fn attention(
        self,
        k: Var<'t>,
        v: Var<'t>,
        scale: f64,
        mask: Mask<'t>,
        sinks: Option<Var<'t>>,
    ) -> Self {
        let t = self.tape;
        let (sq, sk, sv) = (self.shape(), k.shape(), v.shape());
        let fits = sq.rank() == 4
            && sk.rank() == 4
            && sv.rank() == 4
            && sq.dim(3) == sk.dim(3)
            && sk.dim(1) != 0
            && sq.dim(1) % sk.dim(1) == 0
            && sk.dims()[..3] == sv.dims()[..3];
        if !fits {
            return t.fail(format!("attention over queries {sq:?}, keys {sk:?} and values {sv:?}"));
        }
        let dtype = self.dtype().promote(k.dtype()).promote(v.dtype());
        let (q, k, v) = (self.astype(dtype), k.astype(dtype), v.astype(dtype));
        let mask = t.full_mask(mask, dtype, &sq, &sk);
        let array = match mask {
            Mask::Array(m) => Some(m),
            Mask::None | Mask::Causal => None,
        };
        let causal = mask == Mask::Causal;
        t.note_heads([sq.dim(3), sv.dim(3)]);
        let asked = AskedKernels {
            queries: &sq,
            keys: &sk,
            values: &sv,
            dtype,
            causal,
            array_mask: array.is_some(),
            sinks: sinks.is_some(),
        };
        let way =
            if array.is_some() && t.fuses_gradients() { Way::Scores } else { t.routing.way(asked) };
        match way {
            Way::Fused => {}
            Way::Blocked(rows) => return t.blocked_attention([q, k, v], scale, mask, rows),
            Way::Scores => {
                return t.scores(|| t.unfused_attention([q, k, v], scale, mask, sinks, dtype));
            }
        }
        let mut inputs = vec![q, k, v];
        inputs.extend(array);
        if let Some(s) = sinks {
            inputs.push(s.astype(dtype));
        }
        let op = Op::Attention {
            scale: scale as f32,
            causal,
            mask: array.is_some(),
            sinks: sinks.is_some(),
        };
        t.push(op, &inputs, sq.with(3, sv.dim(3)), dtype)
    }

    fn prepend_sinks(self, sinks: Var<'t>, heads: i64, repeats: i64, dtype: DType) -> Self {
        let s = sinks.astype(dtype);
        let mut s = s.expand_dims(&[0, 2, 3]);
        if self.shape().rank() == 5 {
            s = s.unflatten(1, &[heads, repeats]);
        }
        let wide = self.shape().with(-1, 1);
        let s = s.broadcast_to(wide);
        concat([s, self], -1)
    }
}

impl<'t> Tape<'t> {
    fn full_mask(&'t self, mask: Mask<'t>, dtype: DType, q: &Shape, k: &Shape) -> Mask<'t> {
        let Mask::Array(m) = mask else { return mask };
        let m = if m.dtype() == DType::Bool { m } else { m.astype(dtype) };
        Mask::Array(m.broadcast_to(q.with(3, k.dim(2))))
    }

    /// Attention of a chunk whose rows are processed in blocks, each by the unfused steps: only the scores of a few
    /// blocks are there at a time.
    fn blocked_attention(
        &'t self,
        [q, k, v]: [Var<'t>; 3],
        scale: f64,
        mask: Mask<'t>,
        rows: u32,
    ) -> Var<'t> {
        let (dtype, length, keys) = (q.dtype(), q.dim(2), k.dim(2));
        let mut blocks = Vec::new();
        let mut start = 0;
        while start < length {
            let end = start.saturating_add(rows).min(length);
            // A block sees the keys up to its last row.
            let seen = keys.saturating_sub(length - end);
            let block = q.slice(2, start, end);
            let (k, v) = (k.slice(2, 0, seen), v.slice(2, 0, seen));
            let unfused = || self.unfused_attention([block, k, v], scale, mask, None, dtype);
            blocks.push(self.scores(unfused));
            start = end;
        }
        self.concat(&blocks, 2)
    }

    /// The plain operations of an attention.
    pub(in crate::graph) fn unfused_attention(
        &'t self,
        [q, k, v]: [Var<'t>; 3],
        scale: f64,
        mask: Mask<'t>,
        sinks: Option<Var<'t>>,
        dtype: DType,
    ) -> Var<'t> {
        let (sq, sk) = (q.shape(), k.shape());
        let (heads, repeats) = (i64::from(sk.dim(1)), i64::from(sq.dim(1) / sk.dim(1)));
        let factor = self.scalar(scale, dtype);
        let mut q = factor * q;
        let (mut k, mut v) = (k, v);
        if repeats > 1 {
            q = q.unflatten(1, &[heads, repeats]);
            k = k.expand_dims(&[2]);
            v = v.expand_dims(&[2]);
        }
        let kt = k.swapaxes(-1, -2);
        let mut scores = q.matmul(kt);
        let mask = match mask {
            Mask::None => None,
            Mask::Causal => Some(self.causal_mask(sq.dim(2), sk.dim(2))),
            Mask::Array(m) => Some(m),
        };
        if let Some(mut m) = mask {
            if repeats > 1 && m.shape().rank() >= 3 {
                m = if m.dim(-3) == 1 {
                    m.expand_dims(&[-3])
                } else {
                    m.unflatten(-3, &[heads, repeats])
                };
            }
            scores = if m.dtype() == DType::Bool {
                let low = self.scalar(dtype.lowest(), dtype);
                m.select(scores, low)
            } else {
                scores + m
            };
        }
        if let Some(s) = sinks {
            scores = scores.prepend_sinks(s, heads, repeats, dtype);
        }
        let mut weights = scores.softmax(true);
        if sinks.is_some() {
            let n = weights.dim(-1);
            weights = weights.slice(-1, 1, n);
        }
        let out = weights.matmul(v);
        if repeats > 1 { out.flatten(1, 2) } else { out }
    }

    /// The mask that unfused attention builds: `[queries, keys]`, true up to the query's own position.
    fn causal_mask(&'t self, queries: u32, keys: u32) -> Var<'t> {
        let rows = self.arange(keys.saturating_sub(queries), keys);
        let rows = rows.expand_dims(&[1]);
        let columns = self.arange(0, keys).expand_dims(&[0]);
        rows.greater_equal(columns)
    }

    /// A custom Metal kernel with two outputs, the result and the new state.
    pub fn kernel(
        &'t self,
        kernel: Kernel,
        inputs: &[Var<'t>],
        y: (Shape, DType),
        state: (Shape, DType),
    ) -> (Var<'t>, Var<'t>) {
        let [out, next] = self.kernel_many(kernel, inputs, [y, state]);
        (out, next)
    }

    /// A custom Metal kernel with several outputs.
    pub fn kernel_many<const N: usize>(
        &'t self,
        kernel: Kernel,
        inputs: &[Var<'t>],
        outputs: [(Shape, DType); N],
    ) -> [Var<'t>; N] {
        let outs = outputs.map(|(shape, dtype)| self.value(shape, dtype, Source::Node));
        self.record(Op::Custom(kernel), inputs, &outs);
        outs
    }

    /// A custom Metal kernel with one output.
    pub fn kernel_one(
        &'t self,
        kernel: Kernel,
        inputs: &[Var<'t>],
        shape: Shape,
        dtype: DType,
    ) -> Var<'t> {
        self.push(Op::Custom(kernel), inputs, shape, dtype)
    }
}
