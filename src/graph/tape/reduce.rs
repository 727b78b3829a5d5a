//! Reductions, softmax, norms, sorting.

use super::{Tape, Var};
use crate::graph::op::{Binary, Op, Reduction};
use crate::graph::params::{ModuleId, Part};
use crate::graph::shape::{Axes, Shape};
use crate::model::DType;

impl Tape<'_> {
    /// A reduction over one axis.
    pub fn reduce(&self, how: Reduction, x: Var, axis: i32, keep_dims: bool) -> Var {
        let i = self.axis(x, axis, "reduce");
        let from = self.shape(x);
        let dtype = match (how, self.dtype(x)) {
            (Reduction::Sum | Reduction::Prod, DType::Bool) => DType::I32,
            (Reduction::And | Reduction::Or, _) => DType::Bool,
            (_, dtype) => dtype,
        };
        let out = if from.dims().get(i) == Some(&1) {
            self.astype(x, dtype)
        } else {
            self.push(Op::Reduce(how, Axes::new([i])), &[x], from.with(axis, 1), dtype)
        };
        if keep_dims { out } else { self.squeeze(out, &[axis]) }
    }

    /// `x.sum(axis)`.
    pub fn sum(&self, x: Var, axis: i32, keep_dims: bool) -> Var {
        self.reduce(Reduction::Sum, x, axis, keep_dims)
    }

    /// `x.mean(axis)`: the sum times the reciprocal number of elements.
    pub fn mean(&self, x: Var, axis: i32, keep_dims: bool) -> Var {
        let n = self.dim(x, axis).max(1);
        let dtype = if self.dtype(x).is_float() { self.dtype(x) } else { DType::F32 };
        let sum = self.sum(x, axis, keep_dims);
        let factor = self.scalar(1.0 / f64::from(n), dtype);
        self.mul(sum, factor)
    }

    /// `mx.cumsum`.
    pub fn cumsum(&self, x: Var, axis: i32) -> Var {
        let i = self.axis(x, axis, "cumsum");
        let dtype = if self.dtype(x) == DType::Bool { DType::I32 } else { self.dtype(x) };
        let shape = self.shape(x);
        self.push(Op::Scan { axis: i as u8 }, &[x], shape, dtype)
    }

    /// `mx.softmax` over the last axis.
    pub fn softmax(&self, x: Var, precise: bool) -> Var {
        let dtype = if self.dtype(x).is_float() { self.dtype(x) } else { DType::F32 };
        let x = self.astype(x, dtype);
        let shape = self.shape(x);
        self.push(Op::Softmax { precise }, &[x], shape, dtype)
    }

    /// `mx.softmax` over an axis that is not the last: the elementary steps.
    pub fn softmax_over(&self, x: Var, axis: i32, precise: bool) -> Var {
        let dtype = if self.dtype(x).is_float() { self.dtype(x) } else { DType::F32 };
        let x = if precise { self.astype(x, DType::F32) } else { self.astype(x, dtype) };
        let peak = self.reduce(Reduction::Max, x, axis, true);
        let x = self.sub(x, peak);
        let x = self.exp(x);
        let total = self.sum(x, axis, true);
        let x = self.div(x, total);
        self.astype(x, dtype)
    }

    /// `mx.logsumexp` over the last axis, or over all axes when `all` (of an array `[1, …, 1, n]`).
    pub fn logsumexp(&self, x: Var) -> Var {
        let shape = self.shape(x).with(-1, 1);
        let dtype = self.dtype(x);
        self.push(Op::LogSumExp, &[x], shape, dtype)
    }

    /// `mx.argmax` over the last axis.
    pub fn argmax(&self, x: Var) -> Var {
        let out = self.argmax_keep(x);
        self.squeeze(out, &[-1])
    }

    /// `mx.argmax(x, axis=-1, keepdims=True)`.
    pub fn argmax_keep(&self, x: Var) -> Var {
        let i = self.axis(x, -1, "argmax");
        let shape = self.shape(x).with(-1, 1);
        self.push(Op::ArgReduce { axis: i as u8, max: true }, &[x], shape, DType::U32)
    }

    /// `mx.argpartition`; `kth` counts from the end when negative.
    pub fn argpartition(&self, x: Var, kth: i64, axis: i32) -> Var {
        let Some((i, kth)) = self.partition_at(x, kth, axis) else {
            return self.fail(format!("argpartition: no element {kth} in {:?}", self.shape(x)));
        };
        let shape = self.shape(x);
        self.push(Op::ArgPartition { axis: i as u8, kth }, &[x], shape, DType::U32)
    }

    /// `mx.topk` along the last axis: a partition and a slice.
    pub fn topk(&self, x: Var, k: u32) -> Var {
        let n = self.dim(x, -1);
        if k == n {
            return x;
        }
        let Some((i, kth)) = self.partition_at(x, -i64::from(k), -1) else {
            return self.fail(format!("topk: {k} elements of {n}"));
        };
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        let parts = self.push(Op::Partition { axis: i as u8, kth }, &[x], shape, dtype);
        self.last(parts, -1, k)
    }

    fn partition_at(&self, x: Var, kth: i64, axis: i32) -> Option<(usize, u32)> {
        let i = self.axis(x, axis, "partition");
        let n = i64::from(self.dim(x, axis));
        let at = if kth < 0 { kth + n } else { kth };
        (0..n).contains(&at).then_some((i, at as u32))
    }

    /// `mx.argsort`.
    pub fn argsort(&self, x: Var, axis: i32) -> Var {
        let i = self.axis(x, axis, "argsort");
        let shape = self.shape(x);
        self.push(Op::ArgSort { axis: i as u8 }, &[x], shape, DType::U32)
    }

    /// `mx.sort`.
    pub fn sort(&self, x: Var, axis: i32) -> Var {
        let i = self.axis(x, axis, "sort");
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        self.push(Op::Sort { axis: i as u8 }, &[x], shape, dtype)
    }

    /// `mx.fast.rms_norm` with an optional weight array.
    pub fn rms_norm(&self, x: Var, weight: Option<Var>, eps: f64) -> Var {
        let mut dtype = self.dtype(x);
        if let Some(w) = weight {
            if self.shape(w).dims() != [self.dim(x, -1)] {
                let (w, x) = (self.shape(w), self.shape(x));
                return self.fail(format!("norm weight of shape {w:?} on data of shape {x:?}"));
            }
            dtype = dtype.promote(self.dtype(w));
        }
        let x = self.astype(x, dtype);
        let shape = self.shape(x);
        let op = Op::RmsNorm { eps: eps as f32 };
        match weight {
            Some(w) => self.push(op, &[x, w], shape, dtype),
            None => self.push(op, &[x], shape, dtype),
        }
    }

    /// `mx.fast.layer_norm` with the weight and bias that the module has.
    pub fn layer_norm(&self, x: Var, weight: Option<Var>, bias: Option<Var>, eps: f64) -> Var {
        let mut dtype = self.dtype(x);
        for w in [weight, bias].into_iter().flatten() {
            if self.shape(w).dims() != [self.dim(x, -1)] {
                let (w, x) = (self.shape(w), self.shape(x));
                return self.fail(format!("norm weight of shape {w:?} on data of shape {x:?}"));
            }
            dtype = dtype.promote(self.dtype(w));
        }
        let x = self.astype(x, dtype);
        let shape = self.shape(x);
        let mut inputs = vec![x];
        inputs.extend(weight);
        inputs.extend(bias);
        self.push(Op::LayerNorm { eps: eps as f32 }, &inputs, shape, dtype)
    }

    /// The whole tensor of a module with a single weight.
    pub fn weight(&self, module: ModuleId) -> Var {
        self.param(module, Part::Weight)
    }

    /// `mx.zeros`/`mx.ones`/`mx.full` of a shape.
    pub fn full(&self, shape: Shape, value: f64, dtype: DType) -> Var {
        let constant = self.scalar(value, dtype);
        self.push(Op::Full, &[constant], shape, dtype)
    }

    /// `mx.zeros_like`: unlike `mx.zeros` it broadcasts the constant first.
    pub fn zeros_like(&self, x: Var) -> Var {
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        let zero = self.scalar(0.0, dtype);
        let wide = self.broadcast_to(zero, shape);
        self.push(Op::Full, &[wide], shape, dtype)
    }

    /// `mx.tril(x, k)`: zeroes what stands above diagonal `k` of the last two axes.
    pub fn tril(&self, x: Var, k: i32) -> Var {
        let shape = self.shape(x);
        if shape.rank() < 2 {
            return self.fail(format!("tril of an array of shape {shape:?}"));
        }
        let rows = self.arange(0, shape.dim(-2));
        let rows = self.expand_dims(rows, &[1]);
        let op = Op::Arange { start: f64::from(-k), step: 1.0 };
        let columns = self.push(op, &[], Shape::new(&[shape.dim(-1)]), DType::I32);
        let columns = self.expand_dims(columns, &[0]);
        let mask = self.binary(Binary::GreaterEqual, rows, columns);
        let zero = self.scalar(0.0, self.dtype(x));
        self.select(mask, x, zero)
    }

    /// `mx.arange(start, stop)` of 32-bit integers.
    pub fn arange(&self, start: u32, stop: u32) -> Var {
        self.arange_of(start, stop, DType::I32)
    }

    /// `mx.arange(start, stop, dtype)`.
    pub fn arange_of(&self, start: u32, stop: u32, dtype: DType) -> Var {
        let shape = Shape::new(&[stop.saturating_sub(start)]);
        self.push(Op::Arange { start: f64::from(start), step: 1.0 }, &[], shape, dtype)
    }
}
