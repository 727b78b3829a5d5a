//! Matrix products, dense, quantized and gathered; quantization; convolution.

use super::{Tape, Var};
use crate::graph::op::Op;
use crate::graph::shape::Shape;
use crate::model::{DType, Mode, Packing};

/// The tensors of a packed matrix.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'t> {
    /// Packed words.
    pub weight: Var<'t>,
    /// Scales per group.
    pub scales: Var<'t>,
    /// Biases per group (affine only).
    pub biases: Option<Var<'t>>,
    /// How the words are packed.
    pub packing: Packing,
}

impl<'t> Var<'t> {
    /// `a @ b`.
    pub fn matmul(self, b: Var<'t>) -> Self {
        let t = self.tape;
        let (sa, sb) = (self.shape(), b.shape());
        if sa.rank() < 2 || sb.rank() < 2 || sa.dim(-1) != sb.dim(-2) {
            return t.fail(format!("matmul of shapes {sa:?} and {sb:?}"));
        }
        let dtype = self.dtype().promote(b.dtype());
        if !dtype.is_float() {
            return t.fail("matmul of integers");
        }
        let (mut a, mut b) = (self.astype(dtype), b.astype(dtype));
        let n = sb.dim(-1);
        if sa.rank() > 2 && sb.rank() == 2 {
            let flat = a.flatten(0, -2);
            let shape = flat.shape().with(-1, n);
            let out = t.push(Op::Matmul, &[flat, b], shape, dtype);
            let outer: Vec<i64> =
                sa.dims()[..sa.rank() - 1].iter().map(|&d| i64::from(d)).collect();
            return out.unflatten(0, &outer);
        }
        if sa.rank() > 2 || sb.rank() > 2 {
            let Some((x, y)) = a.broadcast_outer(b) else {
                return t.fail(format!("matmul of shapes {sa:?} and {sb:?}"));
            };
            (a, b) = (x, y);
        }
        let shape = a.shape().with(-1, n);
        t.push(Op::Matmul, &[a, b], shape, dtype)
    }

    /// Broadcasts all axes but the last two.
    fn broadcast_outer(self, b: Var<'t>) -> Option<(Var<'t>, Var<'t>)> {
        let (sa, sb) = (self.shape(), b.shape());
        let outer = sa.with(-1, 1).with(-2, 1).broadcast(&sb.with(-1, 1).with(-2, 1))?;
        let a = self.broadcast_to(outer.with(-1, sa.dim(-1)).with(-2, sa.dim(-2)));
        let b = b.broadcast_to(outer.with(-1, sb.dim(-1)).with(-2, sb.dim(-2)));
        Some((a, b))
    }

    /// `mx.addmm(c, a, b)` with a vector `c`.
    pub fn addmm(self, a: Var<'t>, b: Var<'t>) -> Self {
        let t = self.tape;
        let (sa, sb) = (a.shape(), b.shape());
        if sa.rank() < 2 || sb.rank() != 2 || sa.dim(-1) != sb.dim(-2) {
            return t.fail(format!("addmm of shapes {sa:?} and {sb:?}"));
        }
        let dtype = a.dtype().promote(b.dtype()).promote(self.dtype());
        let a = a.astype(dtype);
        let b = b.astype(dtype);
        let c = self.astype(dtype);
        let n = sb.dim(-1);
        let wide = sa.rank() > 2;
        let rows = if wide { a.reshape(&[-1, i64::from(sa.dim(-1))]) } else { a };
        let shape = Shape::new(&[rows.dim(0), n]);
        let c = c.broadcast_to(shape);
        let out = t.push(Op::AddMm, &[rows, b, c], shape, dtype);
        let mut to: Vec<i64> = sa.dims().iter().map(|&d| i64::from(d)).collect();
        if let Some(last) = to.last_mut() {
            *last = i64::from(n);
        }
        out.reshape(&to)
    }

    /// `mx.quantized_matmul`.
    pub fn quantized_matmul(self, w: Packed<'t>, transpose: bool) -> Self {
        let t = self.tape;
        let sx = self.shape();
        let sw = w.weight.shape();
        let wide = u64::from(sw.dim(-1)) * 32 / u64::from(w.packing.bits.max(1));
        let wide = t.size(wide);
        let (inner, outer) = if transpose { (wide, sw.dim(-2)) } else { (sw.dim(-2), wide) };
        if sx.rank() < 2 || sw.rank() < 2 || sx.dim(-1) != inner {
            return t.fail(format!("quantized product of {sx:?} with a matrix of {inner} columns"));
        }
        let (x, mut inputs, dtype) = self.quantized_inputs(w);
        inputs.insert(0, x);
        if sx.rank() > 2 && sw.rank() > 2 {
            let mut outer = sx.with(-1, 1).with(-2, 1);
            for &v in &inputs {
                let part = v.shape().with(-1, 1).with(-2, 1);
                match outer.broadcast(&part) {
                    Some(shape) => outer = shape,
                    None => return t.fail(format!("quantized product of {sx:?} and {sw:?}")),
                }
            }
            for v in &mut inputs {
                let s = (*v).shape();
                *v = (*v).broadcast_to(outer.with(-1, s.dim(-1)).with(-2, s.dim(-2)));
            }
        }
        let shape = inputs[0].shape().with(-1, outer);
        let op = Op::QuantizedMatmul { packing: w.packing, transpose };
        t.push(op, &inputs, shape, dtype)
    }

    fn quantized_inputs(self, w: Packed<'t>) -> (Var<'t>, Vec<Var<'t>>, DType) {
        let mut inputs = vec![w.weight];
        let dtype = match w.packing.mode {
            Mode::Affine => self.dtype().promote(w.scales.dtype()),
            Mode::Mxfp4 | Mode::Nvfp4 | Mode::Mxfp8 => self.dtype(),
        };
        let x = self.astype(dtype);
        match w.biases {
            Some(biases) => {
                inputs.push(w.scales.astype(dtype));
                inputs.push(biases.astype(dtype));
            }
            None => inputs.push(w.scales),
        }
        (x, inputs, dtype)
    }

    /// `mx.gather_qmm` with right-hand indices and a transposed weight `[experts, out, in]`.
    pub fn gather_qmm(self, w: Packed<'t>, indices: Var<'t>, sorted: bool) -> Self {
        let (x, weights, dtype) = self.quantized_inputs(w);
        let n = w.weight.dim(-2);
        let op = Op::GatherQmm { packing: w.packing, transpose: true, sorted };
        self.tape.gathered(op, x, &weights, indices, n, dtype)
    }

    /// `mx.gather_mm` with right-hand indices and a weight `[experts, in, out]`.
    pub fn gather_mm(self, w: Var<'t>, indices: Var<'t>, sorted: bool) -> Self {
        let t = self.tape;
        let dtype = self.dtype().promote(w.dtype());
        let (x, w) = (self.astype(dtype), w.astype(dtype));
        if x.dim(-1) != w.dim(-2) {
            let (sx, sw) = (x.shape(), w.shape());
            return t.fail(format!("gathered product of shapes {sx:?} and {sw:?}"));
        }
        let n = w.dim(-1);
        t.gathered(Op::GatherMm { sorted }, x, &[w], indices, n, dtype)
    }

    /// `mx.quantize` along the last axis (used by a quantized KV cache).
    pub fn quantize(self, packing: Packing) -> Packed<'t> {
        let t = self.tape;
        let shape = self.shape();
        let n = shape.dim(-1);
        if packing.group == 0 || n % packing.group != 0 {
            t.fail(format!("cannot quantize {shape:?} in groups of {}", packing.group));
        }
        let words = (u64::from(n) * u64::from(packing.bits) / 32) as u32;
        let groups = n / packing.group.max(1);
        let source = super::Source::Node;
        let weight = t.value(shape.with(-1, words), DType::U32, source);
        let scale_dtype = packing.scale_dtype(self.dtype());
        let scales = t.value(shape.with(-1, groups), scale_dtype, source);
        let biases =
            packing.has_biases().then(|| t.value(shape.with(-1, groups), scale_dtype, source));
        let mut outputs = vec![weight, scales];
        outputs.extend(biases);
        t.record(Op::Quantize(packing), &[self], &outputs);
        Packed { weight, scales, biases, packing }
    }

    /// `mx.hadamard_transform` of the last axis.
    pub fn hadamard(self, scale: f64) -> Self {
        let (shape, dtype) = (self.shape(), self.dtype());
        self.tape.push(Op::Hadamard { scale: scale as f32 }, &[self], shape, dtype)
    }

    /// `mx.conv1d` without padding: `x [batch, length, channels]`, `weight [out, kernel, channels / groups]`.
    pub fn conv1d(self, weight: Var<'t>, groups: u32) -> Self {
        let t = self.tape;
        let (sx, sw) = (self.shape(), weight.shape());
        let kernel = sw.dim(1);
        if sx.rank() != 3 || sw.rank() != 3 || sx.dim(1) < kernel {
            return t.fail(format!("convolution of {sx:?} with {sw:?}"));
        }
        let dtype = self.dtype().promote(weight.dtype());
        let (x, weight) = (self.astype(dtype), weight.astype(dtype));
        let shape = Shape::new(&[sx.dim(0), sx.dim(1) - kernel + 1, sw.dim(0)]);
        t.push(Op::Convolution { groups }, &[x, weight], shape, dtype)
    }
}

impl<'t> Tape<'t> {
    /// A gathered product over rows that are all used.
    pub(in crate::graph) fn gathered(
        &'t self,
        op: Op,
        x: Var<'t>,
        weights: &[Var<'t>],
        indices: Var<'t>,
        n: u32,
        dtype: DType,
    ) -> Var<'t> {
        let sx = x.shape();
        if sx.rank() < 2 {
            return self.fail("gathered product of a vector");
        }
        let outer = Shape::new(&sx.dims()[..sx.rank() - 2]);
        let total = self.size(outer.elements());
        let left = self.arange_of(0, total, DType::U32);
        let dims: Vec<i64> = outer.dims().iter().map(|&d| i64::from(d)).collect();
        let left = left.reshape(&dims);
        let right = indices.astype(DType::U32);
        let Some(common) = outer.broadcast(&right.shape()) else {
            return self.fail("gathered product: indices do not fit");
        };
        let (left, right) = (left.broadcast_to(common), right.broadcast_to(common));
        let mut shape = common;
        shape.push(sx.dim(-2));
        shape.push(n);
        let mut inputs = vec![x];
        inputs.extend_from_slice(weights);
        inputs.extend([left, right]);
        self.push(op, &inputs, shape, dtype)
    }

    /// `mx.dequantize` of rows of a packed matrix.
    pub fn dequantize(&'t self, w: Packed<'t>) -> Var<'t> {
        let words = w.weight.shape();
        let wide = u64::from(words.dim(-1)) * 32 / u64::from(w.packing.bits.max(1));
        let wide = self.size(wide);
        let dtype = match w.packing.mode {
            Mode::Affine => w.scales.dtype(),
            Mode::Mxfp4 | Mode::Nvfp4 | Mode::Mxfp8 => DType::BF16,
        };
        let mut inputs = vec![w.weight, w.scales];
        inputs.extend(w.biases);
        self.push(Op::Dequantize(w.packing), &inputs, words.with(-1, wide), dtype)
    }
}
