//! Reductions, softmax, norms, sorting.

use super::{Tape, Var};
use crate::graph::op::{Op, Reduction};
use crate::graph::params::{ModuleId, Part};
use crate::graph::shape::{Axes, Shape};
use crate::model::DType;

impl<'t> Var<'t> {
    /// A reduction over one axis.
    pub fn reduce(self, how: Reduction, axis: i32, keep_dims: bool) -> Self {
        let i = self.axis(axis, "reduce");
        let from = self.shape();
        let dtype = match (how, self.dtype()) {
            (Reduction::Sum | Reduction::Prod, DType::Bool) => DType::I32,
            (Reduction::And | Reduction::Or, _) => DType::Bool,
            (_, dtype) => dtype,
        };
        let out = if from.dims().get(i) == Some(&1) {
            self.astype(dtype)
        } else {
            self.tape.push(Op::Reduce(how, Axes::new([i])), &[self], from.with(axis, 1), dtype)
        };
        if keep_dims { out } else { out.squeeze(&[axis]) }
    }

    /// `x.sum(axis)`.
    pub fn sum(self, axis: i32, keep_dims: bool) -> Self {
        self.reduce(Reduction::Sum, axis, keep_dims)
    }

    /// `mx.sum(x, axes, keepdims=True)`; `x` itself where there are no axes.
    pub fn sum_axes(self, axes: &[usize]) -> Self {
        if axes.is_empty() {
            return self;
        }
        let from = self.shape();
        let to = axes.iter().fold(from, |s, &a| s.with(a as i32, 1));
        let dtype = if self.dtype() == DType::Bool { DType::I32 } else { self.dtype() };
        if to == from {
            return self.astype(dtype);
        }
        let op = Op::Reduce(Reduction::Sum, Axes::new(axes.iter().copied()));
        self.tape.push(op, &[self], to, dtype)
    }

    /// `x.mean(axis)`: the sum times the reciprocal number of elements.
    pub fn mean(self, axis: i32, keep_dims: bool) -> Self {
        let n = self.dim(axis).max(1);
        let dtype = if self.dtype().is_float() { self.dtype() } else { DType::F32 };
        let sum = self.sum(axis, keep_dims);
        let factor = self.tape.scalar(1.0 / f64::from(n), dtype);
        sum * factor
    }

    /// `mx.cumsum`.
    pub fn cumsum(self, axis: i32) -> Self {
        let i = self.axis(axis, "cumsum");
        let dtype = if self.dtype() == DType::Bool { DType::I32 } else { self.dtype() };
        let shape = self.shape();
        self.tape.push(Op::Scan { axis: i as u8 }, &[self], shape, dtype)
    }

    /// `mx.softmax` over the last axis.
    pub fn softmax(self, precise: bool) -> Self {
        let dtype = if self.dtype().is_float() { self.dtype() } else { DType::F32 };
        let x = self.astype(dtype);
        let shape = x.shape();
        self.tape.push(Op::Softmax { precise }, &[x], shape, dtype)
    }

    /// `mx.softmax` over an axis that is not the last: the elementary steps.
    pub fn softmax_over(self, axis: i32, precise: bool) -> Self {
        let dtype = if self.dtype().is_float() { self.dtype() } else { DType::F32 };
        let x = if precise { self.astype(DType::F32) } else { self.astype(dtype) };
        let peak = x.reduce(Reduction::Max, axis, true);
        let x = (x - peak).exp();
        let total = x.sum(axis, true);
        (x / total).astype(dtype)
    }

    /// `mx.logsumexp` over the last axis, or over all axes when `all` (of an array `[1, …, 1, n]`).
    pub fn logsumexp(self) -> Self {
        let shape = self.shape().with(-1, 1);
        let dtype = self.dtype();
        self.tape.push(Op::LogSumExp, &[self], shape, dtype)
    }

    /// `mx.argmax` over the last axis.
    pub fn argmax(self) -> Self {
        self.argmax_keep().squeeze(&[-1])
    }

    /// `mx.argmax(x, axis=-1, keepdims=True)`.
    pub fn argmax_keep(self) -> Self {
        let i = self.axis(-1, "argmax");
        let shape = self.shape().with(-1, 1);
        self.tape.push(Op::ArgReduce { axis: i as u8, max: true }, &[self], shape, DType::U32)
    }

    /// `mx.argpartition`; `kth` counts from the end when negative.
    pub fn argpartition(self, kth: i64, axis: i32) -> Self {
        let t = self.tape;
        let Some((i, kth)) = self.partition_at(kth, axis) else {
            return t.fail(format!("argpartition: no element {kth} in {:?}", self.shape()));
        };
        let shape = self.shape();
        t.push(Op::ArgPartition { axis: i as u8, kth }, &[self], shape, DType::U32)
    }

    /// `mx.topk` along the last axis: a partition and a slice.
    pub fn topk(self, k: u32) -> Self {
        let t = self.tape;
        let n = self.dim(-1);
        if k == n {
            return self;
        }
        let Some((i, kth)) = self.partition_at(-i64::from(k), -1) else {
            return t.fail(format!("topk: {k} elements of {n}"));
        };
        let (shape, dtype) = (self.shape(), self.dtype());
        let parts = t.push(Op::Partition { axis: i as u8, kth }, &[self], shape, dtype);
        parts.last(-1, k)
    }

    fn partition_at(self, kth: i64, axis: i32) -> Option<(usize, u32)> {
        let i = self.axis(axis, "partition");
        let n = i64::from(self.dim(axis));
        let at = if kth < 0 { kth + n } else { kth };
        (0..n).contains(&at).then_some((i, at as u32))
    }

    /// `mx.argsort`.
    pub fn argsort(self, axis: i32) -> Self {
        let i = self.axis(axis, "argsort");
        let shape = self.shape();
        self.tape.push(Op::ArgSort { axis: i as u8 }, &[self], shape, DType::U32)
    }

    /// `mx.sort`.
    pub fn sort(self, axis: i32) -> Self {
        let i = self.axis(axis, "sort");
        let (shape, dtype) = (self.shape(), self.dtype());
        self.tape.push(Op::Sort { axis: i as u8 }, &[self], shape, dtype)
    }

    /// `mx.fast.rms_norm` with an optional weight array.
    pub fn rms_norm(self, weight: Option<Var<'t>>, eps: f64) -> Self {
        let t = self.tape;
        let mut dtype = self.dtype();
        if let Some(w) = weight {
            if w.shape().dims() != [self.dim(-1)] {
                let (w, x) = (w.shape(), self.shape());
                return t.fail(format!("norm weight of shape {w:?} on data of shape {x:?}"));
            }
            dtype = dtype.promote(w.dtype());
        }
        let x = self.astype(dtype);
        let shape = x.shape();
        let op = Op::RmsNorm { eps: eps as f32 };
        match weight {
            Some(w) => t.push(op, &[x, w], shape, dtype),
            None => t.push(op, &[x], shape, dtype),
        }
    }

    /// `mx.fast.layer_norm` with the weight and bias that the module has.
    pub fn layer_norm(self, weight: Option<Var<'t>>, bias: Option<Var<'t>>, eps: f64) -> Self {
        let t = self.tape;
        let mut dtype = self.dtype();
        for w in [weight, bias].into_iter().flatten() {
            if w.shape().dims() != [self.dim(-1)] {
                let (w, x) = (w.shape(), self.shape());
                return t.fail(format!("norm weight of shape {w:?} on data of shape {x:?}"));
            }
            dtype = dtype.promote(w.dtype());
        }
        let x = self.astype(dtype);
        let shape = x.shape();
        let mut inputs = vec![x];
        inputs.extend(weight);
        inputs.extend(bias);
        t.push(Op::LayerNorm { eps: eps as f32 }, &inputs, shape, dtype)
    }

    /// `mx.zeros_like`: unlike `mx.zeros` it broadcasts the constant first.
    pub fn zeros_like(self) -> Self {
        let t = self.tape;
        let (shape, dtype) = (self.shape(), self.dtype());
        let zero = t.scalar(0.0, dtype);
        let wide = zero.broadcast_to(shape);
        t.push(Op::Full, &[wide], shape, dtype)
    }

    /// `mx.tril(x, k)`: zeroes what stands above diagonal `k` of the last two axes.
    pub fn tril(self, k: i32) -> Self {
        let t = self.tape;
        let shape = self.shape();
        if shape.rank() < 2 {
            return t.fail(format!("tril of an array of shape {shape:?}"));
        }
        let rows = t.arange(0, shape.dim(-2)).expand_dims(&[1]);
        let op = Op::Arange { start: f64::from(-k), step: 1.0 };
        let columns = t.push(op, &[], Shape::new(&[shape.dim(-1)]), DType::I32).expand_dims(&[0]);
        let mask = rows.greater_equal(columns);
        let zero = t.scalar(0.0, self.dtype());
        mask.select(self, zero)
    }
}

impl<'t> Tape<'t> {
    /// The whole tensor of a module with a single weight.
    pub fn weight(&'t self, module: ModuleId) -> Var<'t> {
        self.param(module, Part::Weight)
    }

    /// `mx.zeros` of a shape as whole training steps record it: the constant is broadcast first.
    pub fn zeros_broadcast(&'t self, shape: Shape, dtype: DType) -> Var<'t> {
        let wide = self.scalar(0.0, dtype).broadcast_to(shape);
        self.push(Op::Full, &[wide], shape, dtype)
    }

    /// `mx.zeros`/`mx.ones`/`mx.full` of a shape.
    pub fn full(&'t self, shape: Shape, value: f64, dtype: DType) -> Var<'t> {
        let constant = self.scalar(value, dtype);
        self.push(Op::Full, &[constant], shape, dtype)
    }

    /// `mx.arange(start, stop)` of 32-bit integers.
    pub fn arange(&'t self, start: u32, stop: u32) -> Var<'t> {
        self.arange_of(start, stop, DType::I32)
    }

    /// `mx.arange(start, stop, dtype)`.
    pub fn arange_of(&'t self, start: u32, stop: u32, dtype: DType) -> Var<'t> {
        let shape = Shape::new(&[stop.saturating_sub(start)]);
        self.push(Op::Arange { start: f64::from(start), step: 1.0 }, &[], shape, dtype)
    }
}
