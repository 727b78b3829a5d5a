//! Matrix products, dense, quantised and gathered; quantisation; convolution.

use super::{Tape, Var};
use crate::graph::op::Op;
use crate::graph::shape::Shape;
use crate::model::{DType, Mode, Packing};

/// The tensors of a packed matrix.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    /// Packed words.
    pub weight: Var,
    /// Scales per group.
    pub scales: Var,
    /// Biases per group (affine only).
    pub biases: Option<Var>,
    /// How the words are packed.
    pub packing: Packing,
}

impl Tape<'_> {
    /// `a @ b`.
    pub fn matmul(&self, a: Var, b: Var) -> Var {
        let (sa, sb) = (self.shape(a), self.shape(b));
        if sa.rank() < 2 || sb.rank() < 2 || sa.dim(-1) != sb.dim(-2) {
            return self.fail(format!("matmul of shapes {sa:?} and {sb:?}"));
        }
        let dtype = self.dtype(a).promote(self.dtype(b));
        if !dtype.is_float() {
            return self.fail("matmul of integers");
        }
        let (mut a, mut b) = (self.astype(a, dtype), self.astype(b, dtype));
        let n = sb.dim(-1);
        if sa.rank() > 2 && sb.rank() == 2 {
            let flat = self.flatten(a, 0, -2);
            let shape = self.shape(flat).with(-1, n);
            let out = self.push(Op::Matmul, &[flat, b], shape, dtype);
            let outer: Vec<i64> =
                sa.dims()[..sa.rank() - 1].iter().map(|&d| i64::from(d)).collect();
            return self.unflatten(out, 0, &outer);
        }
        if sa.rank() > 2 || sb.rank() > 2 {
            let Some((x, y)) = self.broadcast_outer(a, b) else {
                return self.fail(format!("matmul of shapes {sa:?} and {sb:?}"));
            };
            (a, b) = (x, y);
        }
        let shape = self.shape(a).with(-1, n);
        self.push(Op::Matmul, &[a, b], shape, dtype)
    }

    /// Broadcasts all axes but the last two.
    fn broadcast_outer(&self, a: Var, b: Var) -> Option<(Var, Var)> {
        let (sa, sb) = (self.shape(a), self.shape(b));
        let outer = sa.with(-1, 1).with(-2, 1).broadcast(&sb.with(-1, 1).with(-2, 1))?;
        let a = self.broadcast_to(a, outer.with(-1, sa.dim(-1)).with(-2, sa.dim(-2)));
        let b = self.broadcast_to(b, outer.with(-1, sb.dim(-1)).with(-2, sb.dim(-2)));
        Some((a, b))
    }

    /// `mx.addmm(c, a, b)` with a vector `c`.
    pub fn addmm(&self, c: Var, a: Var, b: Var) -> Var {
        let (sa, sb) = (self.shape(a), self.shape(b));
        if sa.rank() < 2 || sb.rank() != 2 || sa.dim(-1) != sb.dim(-2) {
            return self.fail(format!("addmm of shapes {sa:?} and {sb:?}"));
        }
        let dtype = self.dtype(a).promote(self.dtype(b)).promote(self.dtype(c));
        let a = self.astype(a, dtype);
        let b = self.astype(b, dtype);
        let c = self.astype(c, dtype);
        let n = sb.dim(-1);
        let wide = sa.rank() > 2;
        let rows = if wide { self.reshape(a, &[-1, i64::from(sa.dim(-1))]) } else { a };
        let shape = Shape::new(&[self.dim(rows, 0), n]);
        let c = self.broadcast_to(c, shape);
        let out = self.push(Op::AddMm, &[rows, b, c], shape, dtype);
        let mut to: Vec<i64> = sa.dims().iter().map(|&d| i64::from(d)).collect();
        if let Some(last) = to.last_mut() {
            *last = i64::from(n);
        }
        self.reshape(out, &to)
    }

    /// `mx.quantized_matmul`.
    pub fn quantized_matmul(&self, x: Var, w: Packed, transpose: bool) -> Var {
        let sx = self.shape(x);
        let sw = self.shape(w.weight);
        let wide = u64::from(sw.dim(-1)) * 32 / u64::from(w.packing.bits.max(1));
        let wide = self.size(wide);
        let (inner, outer) = if transpose { (wide, sw.dim(-2)) } else { (sw.dim(-2), wide) };
        if sx.rank() < 2 || sw.rank() < 2 || sx.dim(-1) != inner {
            return self
                .fail(format!("quantised product of {sx:?} with a matrix of {inner} columns"));
        }
        let (x, mut inputs, dtype) = self.quantized_inputs(x, w);
        inputs.insert(0, x);
        if sx.rank() > 2 && sw.rank() > 2 {
            let mut outer = sx.with(-1, 1).with(-2, 1);
            for &v in &inputs {
                let part = self.shape(v).with(-1, 1).with(-2, 1);
                match outer.broadcast(&part) {
                    Some(shape) => outer = shape,
                    None => return self.fail(format!("quantised product of {sx:?} and {sw:?}")),
                }
            }
            for v in &mut inputs {
                let s = self.shape(*v);
                *v = self.broadcast_to(*v, outer.with(-1, s.dim(-1)).with(-2, s.dim(-2)));
            }
        }
        let shape = self.shape(inputs[0]).with(-1, outer);
        let op = Op::QuantizedMatmul { packing: w.packing, transpose };
        self.push(op, &inputs, shape, dtype)
    }

    fn quantized_inputs(&self, x: Var, w: Packed) -> (Var, Vec<Var>, DType) {
        let mut inputs = vec![w.weight];
        let dtype = match w.packing.mode {
            Mode::Affine => self.dtype(x).promote(self.dtype(w.scales)),
            Mode::Mxfp4 | Mode::Nvfp4 | Mode::Mxfp8 => self.dtype(x),
        };
        let x = self.astype(x, dtype);
        match w.biases {
            Some(biases) => {
                inputs.push(self.astype(w.scales, dtype));
                inputs.push(self.astype(biases, dtype));
            }
            None => inputs.push(w.scales),
        }
        (x, inputs, dtype)
    }

    /// `mx.gather_qmm` with right-hand indices and a transposed weight `[experts, out, in]`.
    pub fn gather_qmm(&self, x: Var, w: Packed, indices: Var, sorted: bool) -> Var {
        let (x, weights, dtype) = self.quantized_inputs(x, w);
        let n = self.dim(w.weight, -2);
        let op = Op::GatherQmm { packing: w.packing, transpose: true, sorted };
        self.gathered(op, x, &weights, indices, n, dtype)
    }

    /// `mx.gather_mm` with right-hand indices and a weight `[experts, in, out]`.
    pub fn gather_mm(&self, x: Var, w: Var, indices: Var, sorted: bool) -> Var {
        let dtype = self.dtype(x).promote(self.dtype(w));
        let (x, w) = (self.astype(x, dtype), self.astype(w, dtype));
        if self.dim(x, -1) != self.dim(w, -2) {
            let (sx, sw) = (self.shape(x), self.shape(w));
            return self.fail(format!("gathered product of shapes {sx:?} and {sw:?}"));
        }
        let n = self.dim(w, -1);
        self.gathered(Op::GatherMm { sorted }, x, &[w], indices, n, dtype)
    }

    fn gathered(&self, op: Op, x: Var, weights: &[Var], indices: Var, n: u32, dtype: DType) -> Var {
        let sx = self.shape(x);
        if sx.rank() < 2 {
            return self.fail("gathered product of a vector");
        }
        let outer = Shape::new(&sx.dims()[..sx.rank() - 2]);
        let total = self.size(outer.elements());
        let left = self.arange_of(0, total, DType::U32);
        let dims: Vec<i64> = outer.dims().iter().map(|&d| i64::from(d)).collect();
        let left = self.reshape(left, &dims);
        let right = self.astype(indices, DType::U32);
        let Some(common) = outer.broadcast(&self.shape(right)) else {
            return self.fail("gathered product: indices do not fit");
        };
        let (left, right) = (self.broadcast_to(left, common), self.broadcast_to(right, common));
        let mut shape = common;
        shape.push(sx.dim(-2));
        shape.push(n);
        let mut inputs = vec![x];
        inputs.extend_from_slice(weights);
        inputs.extend([left, right]);
        self.push(op, &inputs, shape, dtype)
    }

    /// `mx.dequantize` of rows of a packed matrix.
    pub fn dequantize(&self, w: Packed) -> Var {
        let words = self.shape(w.weight);
        let wide = u64::from(words.dim(-1)) * 32 / u64::from(w.packing.bits.max(1));
        let wide = self.size(wide);
        let dtype = match w.packing.mode {
            Mode::Affine => self.dtype(w.scales),
            Mode::Mxfp4 | Mode::Nvfp4 | Mode::Mxfp8 => DType::BF16,
        };
        let mut inputs = vec![w.weight, w.scales];
        inputs.extend(w.biases);
        self.push(Op::Dequantize(w.packing), &inputs, words.with(-1, wide), dtype)
    }

    /// `mx.quantize` along the last axis (used by a quantised KV cache).
    pub fn quantize(&self, x: Var, packing: Packing) -> Packed {
        let shape = self.shape(x);
        let n = shape.dim(-1);
        if packing.group == 0 || n % packing.group != 0 {
            self.fail(format!("cannot quantise {shape:?} in groups of {}", packing.group));
        }
        let words = (u64::from(n) * u64::from(packing.bits) / 32) as u32;
        let groups = n / packing.group.max(1);
        let source = super::Source::Node;
        let weight = self.value(shape.with(-1, words), DType::U32, source);
        let scale_dtype = packing.scale_dtype(self.dtype(x));
        let scales = self.value(shape.with(-1, groups), scale_dtype, source);
        let biases =
            packing.has_biases().then(|| self.value(shape.with(-1, groups), scale_dtype, source));
        let mut outputs = vec![weight, scales];
        outputs.extend(biases);
        self.record(Op::Quantize(packing), &[x], &outputs);
        Packed { weight, scales, biases, packing }
    }

    /// `mx.hadamard_transform` of the last axis.
    pub fn hadamard(&self, x: Var, scale: f64) -> Var {
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        self.push(Op::Hadamard { scale: scale as f32 }, &[x], shape, dtype)
    }

    /// `mx.conv1d` without padding: `x [batch, length, channels]`, `weight [out, kernel, channels / groups]`.
    pub fn conv1d(&self, x: Var, weight: Var, groups: u32) -> Var {
        let (sx, sw) = (self.shape(x), self.shape(weight));
        let kernel = sw.dim(1);
        if sx.rank() != 3 || sw.rank() != 3 || sx.dim(1) < kernel {
            return self.fail(format!("convolution of {sx:?} with {sw:?}"));
        }
        let dtype = self.dtype(x).promote(self.dtype(weight));
        let (x, weight) = (self.astype(x, dtype), self.astype(weight, dtype));
        let shape = Shape::new(&[sx.dim(0), sx.dim(1) - kernel + 1, sw.dim(0)]);
        self.push(Op::Convolution { groups }, &[x, weight], shape, dtype)
    }
}
