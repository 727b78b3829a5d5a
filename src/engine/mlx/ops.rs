//! MLX's operations as safe functions: one call of the C interface each, on one stream.

use super::error::{EngineError, install, last};
use super::scalar;
use crate::graph::shape::{Axes, Shape};
use crate::model::{DType, Mode, Packing};
use mlx_sys::{mlx_array, mlx_optional_dtype, mlx_optional_float, mlx_optional_int, mlx_stream};
use mlx_sys::{mlx_vector_array, mlx_vector_array_free, mlx_vector_array_get};
use std::ffi::{CStr, c_int};

/// An array of MLX, possibly not evaluated yet.
pub type Array = super::rs::Array;

type Result<T> = std::result::Result<T, EngineError>;

/// A C function of one input.
pub(super) type UnaryFn = unsafe extern "C" fn(*mut mlx_array, mlx_array, mlx_stream) -> c_int;
/// A C function of two inputs.
pub(super) type BinaryFn =
    unsafe extern "C" fn(*mut mlx_array, mlx_array, mlx_array, mlx_stream) -> c_int;

/// The stream on which operations run.
pub(super) struct Ops {
    stream: super::rs::Stream,
}

/// A list of arrays that lives as long as a call.
struct List(mlx_vector_array);

impl List {
    fn new(arrays: &[&Array]) -> Self {
        let raw: Vec<mlx_array> = arrays.iter().map(|a| a.as_ptr()).collect();
        // SAFETY: MLX copies the handles, which are valid.
        Self(unsafe { mlx_sys::mlx_vector_array_new_data(raw.as_ptr(), raw.len()) })
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once.
        unsafe { mlx_vector_array_free(self.0) };
    }
}

fn one(what: &'static str, f: impl FnOnce(*mut mlx_array) -> c_int) -> Result<Array> {
    // SAFETY: an empty handle, which the operation fills or which is freed again.
    unsafe {
        let mut out = mlx_sys::mlx_array_new();
        if f(&raw mut out) == 0 {
            Ok(Array::from_ptr(out))
        } else {
            mlx_sys::mlx_array_free(out);
            Err(last(what))
        }
    }
}

fn many(what: &'static str, f: impl FnOnce(*mut mlx_vector_array) -> c_int) -> Result<Vec<Array>> {
    // SAFETY: an empty list, which the operation fills and which is freed after its elements were taken out.
    unsafe {
        let mut out = mlx_sys::mlx_vector_array_new();
        let status = f(&raw mut out);
        let list = List(out);
        if status != 0 {
            return Err(last(what));
        }
        let n = mlx_sys::mlx_vector_array_size(list.0);
        (0..n).map(|i| one(what, |res| mlx_vector_array_get(res, list.0, i))).collect()
    }
}

fn none() -> mlx_array {
    // SAFETY: an empty handle holds no memory.
    unsafe { mlx_sys::mlx_array_new() }
}

fn or_none(x: Option<&Array>) -> mlx_array {
    x.map_or_else(none, Array::as_ptr)
}

/// Dimensions as the C interface takes them.
pub(super) struct Ints {
    len: usize,
    values: [c_int; 8],
}

impl Ints {
    fn ptr(&self) -> *const c_int {
        self.values.as_ptr()
    }

    fn new(values: impl Iterator<Item = c_int>) -> Self {
        let mut out = Self { len: 0, values: [0; 8] };
        for v in values.take(8) {
            out.values[out.len] = v;
            out.len += 1;
        }
        out
    }
}

impl From<&Shape> for Ints {
    fn from(shape: &Shape) -> Self {
        // The tape keeps axes below 2^31.
        Self::new(shape.dims().iter().map(|&n| n as c_int))
    }
}

impl From<&Axes> for Ints {
    fn from(axes: &Axes) -> Self {
        Self::new(axes.iter().map(|a| a as c_int))
    }
}

fn int(value: u32) -> mlx_optional_int {
    mlx_optional_int { value: value as c_int, has_value: true }
}

fn mode(packing: Packing) -> &'static CStr {
    match packing.mode {
        Mode::Affine => c"affine",
        Mode::Mxfp4 => c"mxfp4",
        Mode::Nvfp4 => c"nvfp4",
        Mode::Mxfp8 => c"mxfp8",
    }
}

/// A packed matrix: words, scales, biases where the mode has them.
#[derive(Clone, Copy)]
pub(super) struct PackedRef<'a> {
    pub weight: &'a Array,
    pub scales: &'a Array,
    pub biases: Option<&'a Array>,
    pub packing: Packing,
}

/// The mask of an attention call.
pub(super) enum AttentionMask<'a> {
    None,
    Causal,
    Array(&'a Array),
}

impl Ops {
    /// Operations on the default stream of this thread.
    pub fn new() -> Self {
        install();
        Self { stream: super::rs::Stream::new() }
    }

    fn s(&self) -> mlx_stream {
        self.stream.as_ptr()
    }

    pub fn unary(&self, what: &'static str, f: UnaryFn, x: &Array) -> Result<Array> {
        // SAFETY: valid handles.
        one(what, |r| unsafe { f(r, x.as_ptr(), self.s()) })
    }

    pub fn binary(&self, what: &'static str, f: BinaryFn, a: &Array, b: &Array) -> Result<Array> {
        // SAFETY: valid handles.
        one(what, |r| unsafe { f(r, a.as_ptr(), b.as_ptr(), self.s()) })
    }

    /// An array from host memory; `bytes` must hold the elements of `shape` densely.
    pub fn host_array(&self, bytes: &[u8], shape: &Shape, dtype: DType) -> Result<Array> {
        if bytes.len() as u64 != shape.elements() * dtype.bytes() {
            return Err(EngineError::Unsupported(format!("host data for {shape:?} {dtype}")));
        }
        let dims = Ints::from(shape);
        // SAFETY: MLX copies `bytes`, whose length was checked against shape and type.
        let handle = unsafe {
            mlx_sys::mlx_array_new_data(
                bytes.as_ptr().cast(),
                dims.ptr(),
                dims.len as c_int,
                scalar::code(dtype),
            )
        };
        if handle.ctx.is_null() {
            return Err(last("array"));
        }
        // SAFETY: a new handle that nobody else owns.
        Ok(unsafe { Array::from_ptr(handle) })
    }

    pub fn numbers(&self, values: &[f64], shape: &Shape, dtype: DType) -> Result<Array> {
        self.host_array(&scalar::bytes(values, dtype), shape, dtype)
    }

    pub fn as_type(&self, x: &Array, dtype: DType) -> Result<Array> {
        one("astype", |r| unsafe {
            mlx_sys::mlx_astype(r, x.as_ptr(), scalar::code(dtype), self.s())
        })
    }

    pub fn reshape(&self, x: &Array, to: &Shape) -> Result<Array> {
        let d = Ints::from(to);
        one("reshape", |r| unsafe { mlx_sys::mlx_reshape(r, x.as_ptr(), d.ptr(), d.len, self.s()) })
    }

    pub fn transpose(&self, x: &Array, order: &Axes) -> Result<Array> {
        let d = Ints::from(order);
        one("transpose", |r| unsafe {
            mlx_sys::mlx_transpose_axes(r, x.as_ptr(), d.ptr(), d.len, self.s())
        })
    }

    pub fn broadcast(&self, x: &Array, to: &Shape) -> Result<Array> {
        let d = Ints::from(to);
        one("broadcast_to", |r| unsafe {
            mlx_sys::mlx_broadcast_to(r, x.as_ptr(), d.ptr(), d.len, self.s())
        })
    }

    /// `start`, and `start + (n - 1) * step + 1` as the end, per axis.
    pub fn slice(&self, x: &Array, start: &Shape, step: &Shape, to: &Shape) -> Result<Array> {
        let (first, steps, end) = bounds(start, step, to);
        one("slice", |r| unsafe {
            mlx_sys::mlx_slice(
                r,
                x.as_ptr(),
                first.ptr(),
                first.len,
                end.ptr(),
                end.len,
                steps.ptr(),
                steps.len,
                self.s(),
            )
        })
    }

    /// `update` written into `x` from `start` on.
    pub fn slice_update(
        &self,
        x: &Array,
        update: &Array,
        start: &Shape,
        size: &Shape,
        multiply: bool,
    ) -> Result<Array> {
        let ones = Shape::new(&[1; 8][..start.rank()]);
        let (first, steps, end) = bounds(start, &ones, size);
        let f = if multiply { mlx_sys::mlx_slice_update_prod } else { mlx_sys::mlx_slice_update };
        one("slice_update", |r| unsafe {
            f(
                r,
                x.as_ptr(),
                update.as_ptr(),
                first.ptr(),
                first.len,
                end.ptr(),
                end.len,
                steps.ptr(),
                steps.len,
                self.s(),
            )
        })
    }

    pub fn split(&self, x: &Array, at: &[u32], axis: u8) -> Result<Vec<Array>> {
        let at: Vec<c_int> = at.iter().map(|&n| n as c_int).collect();
        many("split", |r| unsafe {
            mlx_sys::mlx_split_sections(
                r,
                x.as_ptr(),
                at.as_ptr(),
                at.len(),
                c_int::from(axis),
                self.s(),
            )
        })
    }

    pub fn select(&self, condition: &Array, a: &Array, b: &Array) -> Result<Array> {
        one("where", |r| unsafe {
            mlx_sys::mlx_where(r, condition.as_ptr(), a.as_ptr(), b.as_ptr(), self.s())
        })
    }

    pub fn rms_norm(&self, x: &Array, weight: Option<&Array>, eps: f32) -> Result<Array> {
        one("rms_norm", |r| unsafe {
            mlx_sys::mlx_fast_rms_norm(r, x.as_ptr(), or_none(weight), eps, self.s())
        })
    }

    pub fn layer_norm(
        &self,
        x: &Array,
        weight: Option<&Array>,
        bias: Option<&Array>,
        eps: f32,
    ) -> Result<Array> {
        one("layer_norm", |r| unsafe {
            mlx_sys::mlx_fast_layer_norm(
                r,
                x.as_ptr(),
                or_none(weight),
                or_none(bias),
                eps,
                self.s(),
            )
        })
    }

    /// Over the last axis.
    pub fn softmax(&self, x: &Array, precise: bool) -> Result<Array> {
        one("softmax", |r| unsafe {
            mlx_sys::mlx_softmax_axis(r, x.as_ptr(), -1, precise, self.s())
        })
    }

    /// Over the last axis, which stays as 1.
    pub fn logsumexp(&self, x: &Array) -> Result<Array> {
        one("logsumexp", |r| unsafe {
            mlx_sys::mlx_logsumexp_axis(r, x.as_ptr(), -1, true, self.s())
        })
    }

    /// The position of the largest or smallest element; the axis stays as 1.
    pub fn arg_reduce(&self, x: &Array, axis: u8, max: bool) -> Result<Array> {
        let f = if max { mlx_sys::mlx_argmax_axis } else { mlx_sys::mlx_argmin_axis };
        one("argmax", |r| unsafe { f(r, x.as_ptr(), c_int::from(axis), true, self.s()) })
    }

    /// A reduction whose axes stay as 1.
    pub fn reduce(
        &self,
        how: crate::graph::op::Reduction,
        x: &Array,
        axes: &Axes,
    ) -> Result<Array> {
        use crate::graph::op::Reduction;
        let f = match how {
            Reduction::Sum => mlx_sys::mlx_sum_axes,
            Reduction::Max => mlx_sys::mlx_max_axes,
            Reduction::Min => mlx_sys::mlx_min_axes,
            Reduction::Prod => mlx_sys::mlx_prod_axes,
            Reduction::And => mlx_sys::mlx_all_axes,
            Reduction::Or => mlx_sys::mlx_any_axes,
        };
        let d = Ints::from(axes);
        one("reduction", |r| unsafe { f(r, x.as_ptr(), d.ptr(), d.len, true, self.s()) })
    }

    pub fn cumsum(&self, x: &Array, axis: u8) -> Result<Array> {
        let dtype = mlx_optional_dtype { value: 0, has_value: false };
        one("cumsum", |r| unsafe {
            mlx_sys::mlx_cumsum_axis(r, x.as_ptr(), c_int::from(axis), false, true, dtype, self.s())
        })
    }

    pub fn sort(&self, x: &Array, axis: u8, positions: bool) -> Result<Array> {
        let f = if positions { mlx_sys::mlx_argsort_axis } else { mlx_sys::mlx_sort_axis };
        one("sort", |r| unsafe { f(r, x.as_ptr(), c_int::from(axis), self.s()) })
    }

    pub fn partition(&self, x: &Array, axis: u8, kth: u32, positions: bool) -> Result<Array> {
        let f =
            if positions { mlx_sys::mlx_argpartition_axis } else { mlx_sys::mlx_partition_axis };
        one("partition", |r| unsafe { f(r, x.as_ptr(), kth as c_int, c_int::from(axis), self.s()) })
    }

    pub fn gather(
        &self,
        x: &Array,
        indices: &[&Array],
        axes: &Axes,
        sizes: &Shape,
    ) -> Result<Array> {
        let (list, axes, sizes) = (List::new(indices), Ints::from(axes), Ints::from(sizes));
        one("gather", |r| unsafe {
            mlx_sys::mlx_gather(
                r,
                x.as_ptr(),
                list.0,
                axes.ptr(),
                axes.len,
                sizes.ptr(),
                sizes.len,
                self.s(),
            )
        })
    }

    pub fn scatter(
        &self,
        x: &Array,
        indices: &[&Array],
        updates: &Array,
        axes: &Axes,
    ) -> Result<Array> {
        let (list, axes) = (List::new(indices), Ints::from(axes));
        one("scatter", |r| unsafe {
            mlx_sys::mlx_scatter(
                r,
                x.as_ptr(),
                list.0,
                updates.as_ptr(),
                axes.ptr(),
                axes.len,
                self.s(),
            )
        })
    }

    pub fn gather_axis(&self, x: &Array, indices: &Array, axis: u8) -> Result<Array> {
        one("take_along_axis", |r| unsafe {
            mlx_sys::mlx_take_along_axis(
                r,
                x.as_ptr(),
                indices.as_ptr(),
                c_int::from(axis),
                self.s(),
            )
        })
    }

    pub fn scatter_axis(
        &self,
        x: &Array,
        indices: &Array,
        values: &Array,
        axis: u8,
        add: bool,
    ) -> Result<Array> {
        let f = if add { mlx_sys::mlx_scatter_add_axis } else { mlx_sys::mlx_put_along_axis };
        one("put_along_axis", |r| unsafe {
            f(r, x.as_ptr(), indices.as_ptr(), values.as_ptr(), c_int::from(axis), self.s())
        })
    }

    pub fn concatenate(&self, parts: &[&Array], axis: u8) -> Result<Array> {
        let list = List::new(parts);
        one("concatenate", |r| unsafe {
            mlx_sys::mlx_concatenate_axis(r, list.0, c_int::from(axis), self.s())
        })
    }

    /// `filling` around `x`: `low` elements before it per axis, the rest of `to` behind it.
    pub fn pad(&self, x: &Array, filling: &Array, low: &Shape, to: &Shape) -> Result<Array> {
        let shape = x.shape();
        let low = Ints::from(low);
        let high =
            Ints::new((0..low.len).map(|i| {
                to.dims()[i] as c_int - shape.get(i).copied().unwrap_or(0) - low.values[i]
            }));
        let axes = Ints::new((0..low.len).map(|i| i as c_int));
        one("pad", |r| unsafe {
            mlx_sys::mlx_pad(
                r,
                x.as_ptr(),
                axes.ptr(),
                axes.len,
                low.ptr(),
                low.len,
                high.ptr(),
                high.len,
                filling.as_ptr(),
                c"constant".as_ptr(),
                self.s(),
            )
        })
    }

    pub fn contiguous(&self, x: &Array) -> Result<Array> {
        one("contiguous", |r| unsafe { mlx_sys::mlx_contiguous(r, x.as_ptr(), false, self.s()) })
    }

    /// `x`, evaluated together with `others`.
    pub fn depends(&self, x: &Array, others: &[&Array]) -> Result<Array> {
        let (x, others) = (List::new(&[x]), List::new(others));
        let mut out = many("depends", |r| unsafe { mlx_sys::mlx_depends(r, x.0, others.0) })?;
        out.pop().ok_or_else(|| EngineError::Unsupported("depends".into()))
    }

    pub fn full(&self, shape: &Shape, value: &Array, dtype: DType) -> Result<Array> {
        let d = Ints::from(shape);
        one("full", |r| unsafe {
            mlx_sys::mlx_full(r, d.ptr(), d.len, value.as_ptr(), scalar::code(dtype), self.s())
        })
    }

    pub fn arange(&self, start: f64, step: f64, count: u32, dtype: DType) -> Result<Array> {
        let stop = start + step * f64::from(count);
        one("arange", |r| unsafe {
            mlx_sys::mlx_arange(r, start, stop, step, scalar::code(dtype), self.s())
        })
    }

    pub fn hadamard(&self, x: &Array, scale: f32) -> Result<Array> {
        let scale = mlx_optional_float { value: scale, has_value: true };
        one("hadamard_transform", |r| unsafe {
            mlx_sys::mlx_hadamard_transform(r, x.as_ptr(), scale, self.s())
        })
    }

    pub fn to_fp8(&self, x: &Array) -> Result<Array> {
        one("to_fp8", |r| unsafe { mlx_sys::mlx_to_fp8(r, x.as_ptr(), self.s()) })
    }

    pub fn fp8_to(&self, x: &Array, dtype: DType) -> Result<Array> {
        one("from_fp8", |r| unsafe {
            mlx_sys::mlx_from_fp8(r, x.as_ptr(), scalar::code(dtype), self.s())
        })
    }

    pub fn matmul(&self, a: &Array, b: &Array) -> Result<Array> {
        self.binary("matmul", mlx_sys::mlx_matmul, a, b)
    }

    pub fn addmm(&self, c: &Array, a: &Array, b: &Array) -> Result<Array> {
        one("addmm", |r| unsafe {
            mlx_sys::mlx_addmm(r, c.as_ptr(), a.as_ptr(), b.as_ptr(), 1.0, 1.0, self.s())
        })
    }

    pub fn quantized_matmul(&self, x: &Array, w: PackedRef<'_>, transpose: bool) -> Result<Array> {
        one("quantized_matmul", |r| unsafe {
            mlx_sys::mlx_quantized_matmul(
                r,
                x.as_ptr(),
                w.weight.as_ptr(),
                w.scales.as_ptr(),
                or_none(w.biases),
                transpose,
                int(w.packing.group),
                int(w.packing.bits),
                mode(w.packing).as_ptr(),
                self.s(),
            )
        })
    }

    pub fn gather_mm(
        &self,
        x: &Array,
        w: &Array,
        left: &Array,
        right: &Array,
        sorted: bool,
    ) -> Result<Array> {
        one("gather_mm", |r| unsafe {
            mlx_sys::mlx_gather_mm(
                r,
                x.as_ptr(),
                w.as_ptr(),
                left.as_ptr(),
                right.as_ptr(),
                sorted,
                self.s(),
            )
        })
    }

    pub fn gather_qmm(
        &self,
        x: &Array,
        w: PackedRef<'_>,
        (left, right): (&Array, &Array),
        transpose: bool,
        sorted: bool,
    ) -> Result<Array> {
        one("gather_qmm", |r| unsafe {
            mlx_sys::mlx_gather_qmm(
                r,
                x.as_ptr(),
                w.weight.as_ptr(),
                w.scales.as_ptr(),
                or_none(w.biases),
                left.as_ptr(),
                right.as_ptr(),
                transpose,
                int(w.packing.group),
                int(w.packing.bits),
                mode(w.packing).as_ptr(),
                sorted,
                self.s(),
            )
        })
    }

    /// Words, scales and, for affine packing, biases.
    pub fn quantize(&self, x: &Array, packing: Packing) -> Result<Vec<Array>> {
        many("quantize", |r| unsafe {
            mlx_sys::mlx_quantize(
                r,
                x.as_ptr(),
                int(packing.group),
                int(packing.bits),
                mode(packing).as_ptr(),
                none(),
                self.s(),
            )
        })
    }

    pub fn dequantize(&self, w: PackedRef<'_>, dtype: DType) -> Result<Array> {
        let dtype = mlx_optional_dtype { value: scalar::code(dtype), has_value: true };
        one("dequantize", |r| unsafe {
            mlx_sys::mlx_dequantize(
                r,
                w.weight.as_ptr(),
                w.scales.as_ptr(),
                or_none(w.biases),
                int(w.packing.group),
                int(w.packing.bits),
                mode(w.packing).as_ptr(),
                none(),
                dtype,
                self.s(),
            )
        })
    }

    pub fn conv1d(&self, x: &Array, weight: &Array, groups: u32) -> Result<Array> {
        one("conv1d", |r| unsafe {
            mlx_sys::mlx_conv1d(r, x.as_ptr(), weight.as_ptr(), 1, 0, 1, groups as c_int, self.s())
        })
    }

    /// With the position of the first token as a number, or as an array.
    pub fn rope(
        &self,
        x: &Array,
        rope: &crate::graph::op::Rope,
        position: Option<&Array>,
        freqs: Option<&Array>,
    ) -> Result<Array> {
        let base = mlx_optional_float {
            value: rope.base.unwrap_or(0.0) as f32,
            has_value: rope.base.is_some(),
        };
        let (dims, scale) = (rope.dims as c_int, rope.scale as f32);
        one("rope", |r| unsafe {
            match position {
                Some(p) => mlx_sys::mlx_fast_rope_dynamic(
                    r,
                    x.as_ptr(),
                    dims,
                    rope.traditional,
                    base,
                    scale,
                    p.as_ptr(),
                    or_none(freqs),
                    self.s(),
                ),
                None => mlx_sys::mlx_fast_rope(
                    r,
                    x.as_ptr(),
                    dims,
                    rope.traditional,
                    base,
                    scale,
                    rope.offset as c_int,
                    or_none(freqs),
                    self.s(),
                ),
            }
        })
    }

    /// Draws an index of the last axis by logits.
    pub fn categorical(&self, logits: &Array, seed: u64) -> Result<Array> {
        let key = one("random key", |r| unsafe { mlx_sys::mlx_random_key(r, seed) })?;
        one("categorical", |r| unsafe {
            mlx_sys::mlx_random_categorical(r, logits.as_ptr(), -1, key.as_ptr(), self.s())
        })
    }

    pub fn attention(
        &self,
        [q, k, v]: [&Array; 3],
        scale: f32,
        mask: &AttentionMask<'_>,
        sinks: Option<&Array>,
    ) -> Result<Array> {
        let (name, array) = match mask {
            AttentionMask::None => (c"", none()),
            AttentionMask::Causal => (c"causal", none()),
            AttentionMask::Array(m) => (c"", m.as_ptr()),
        };
        one("scaled_dot_product_attention", |r| unsafe {
            mlx_sys::mlx_fast_scaled_dot_product_attention(
                r,
                q.as_ptr(),
                k.as_ptr(),
                v.as_ptr(),
                scale,
                name.as_ptr(),
                array,
                or_none(sinks),
                false,
                self.s(),
            )
        })
    }
}

fn bounds(start: &Shape, step: &Shape, size: &Shape) -> (Ints, Ints, Ints) {
    let (first, steps, sizes) = (Ints::from(start), Ints::from(step), Ints::from(size));
    let end = Ints::new((0..first.len).map(|i| {
        let n = sizes.values[i];
        let last = first.values[i] + (n - 1).max(0) * steps.values[i];
        if n == 0 { first.values[i] } else { last + 1 }
    }));
    (first, steps, end)
}

/// Computes arrays and waits for them.
pub(super) fn eval(arrays: &[&Array]) -> Result<()> {
    let list = List::new(arrays);
    // SAFETY: valid handles.
    match unsafe { mlx_sys::mlx_eval(list.0) } {
        0 => Ok(()),
        _ => Err(last("eval")),
    }
}

/// Starts to compute arrays.
pub(super) fn async_eval(arrays: &[&Array]) -> Result<()> {
    let list = List::new(arrays);
    // SAFETY: valid handles.
    match unsafe { mlx_sys::mlx_async_eval(list.0) } {
        0 => Ok(()),
        _ => Err(last("async_eval")),
    }
}

/// Waits for everything that was started on the default stream.
pub(super) fn synchronize() -> Result<()> {
    let stream = super::rs::Stream::new();
    // SAFETY: a valid stream.
    match unsafe { mlx_sys::mlx_synchronize(stream.as_ptr()) } {
        0 => Ok(()),
        _ => Err(last("synchronize")),
    }
}
