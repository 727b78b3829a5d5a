//! MLX's operations as safe functions: one call of the C interface each, on one stream.

mod elementwise;
mod fast;
mod gradient;
mod index;
mod product;
mod reduce;
mod shape;

use super::error::{EngineError, install, last};
use super::scalar;
use crate::graph::shape::{Axes, Shape};
use crate::model::{DType, Mode, Packing};
use mlx_sys::{mlx_array, mlx_optional_dtype, mlx_optional_float, mlx_optional_int, mlx_stream};
use mlx_sys::{mlx_vector_array, mlx_vector_array_free, mlx_vector_array_get};
use std::ffi::{CStr, c_int};

pub(super) use gradient::Forward;

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
