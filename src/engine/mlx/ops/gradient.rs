//! MLX's own differentiation, and what only backward passes call.

use super::*;
use std::ffi::c_void;

/// A function of arrays that MLX differentiates.
pub(in crate::engine::mlx) type Forward<'a> = dyn Fn(&[Array]) -> Result<Array> + 'a;

/// Calls a function for MLX.
///
/// # Safety
/// `payload` points to a `&Forward` that lives as long as the call, and both lists are valid.
unsafe extern "C" fn call(
    out: *mut mlx_vector_array,
    given: mlx_vector_array,
    payload: *mut c_void,
) -> c_int {
    // SAFETY: what `gradients` passed.
    let forward = unsafe { *payload.cast::<&Forward<'_>>() };
    // SAFETY: a valid list.
    let n = unsafe { mlx_sys::mlx_vector_array_size(given) };
    let arrays: Result<Vec<Array>> = (0..n)
        // SAFETY: an index within the list.
        .map(|i| one("vjp", |res| unsafe { mlx_vector_array_get(res, given, i) }))
        .collect();
    match arrays.and_then(|arrays| forward(&arrays)) {
        // SAFETY: MLX copies the handle.
        Ok(made) => unsafe { mlx_sys::mlx_vector_array_set_value(out, made.as_ptr()) },
        Err(_) => 1,
    }
}

impl Ops {
    /// The gradients of a function of `primals` whose result has the gradient `cotangent`.
    pub(in crate::engine::mlx) fn gradients(
        &self,
        forward: &Forward<'_>,
        primals: &[&Array],
        cotangent: &Array,
    ) -> Result<Vec<Array>> {
        let mut payload: &Forward<'_> = forward;
        let payload: *mut c_void = (&raw mut payload).cast();
        let (primals, cotangents) = (List::new(primals), List::new(&[cotangent]));
        // SAFETY: the closure is called within `mlx_vjp` alone, while `forward` lives, and freed behind it.
        unsafe {
            let closure = mlx_sys::mlx_closure_new_func_payload(Some(call), payload, None);
            let mut values = mlx_sys::mlx_vector_array_new();
            let made = many("vjp", |r| {
                mlx_sys::mlx_vjp(&raw mut values, r, closure, primals.0, cotangents.0)
            });
            drop(List(values));
            mlx_sys::mlx_closure_free(closure);
            made
        }
    }

    /// The product of each segment of the columns of `a` with the same rows of `b`.
    pub(in crate::engine::mlx) fn segmented_mm(
        &self,
        a: &Array,
        b: &Array,
        segments: &Array,
    ) -> Result<Array> {
        one("segmented_mm", |r| unsafe {
            mlx_sys::mlx_segmented_mm(r, a.as_ptr(), b.as_ptr(), segments.as_ptr(), self.s())
        })
    }

    /// Pairs of neighbors of a vector: `[n, 2]` of `n + 1` elements.
    pub(in crate::engine::mlx) fn pairs(&self, x: &Array, shape: &Shape) -> Result<Array> {
        let (dims, strides) = (Ints::from(shape), [1_i64, 1]);
        one("as_strided", |r| unsafe {
            mlx_sys::mlx_as_strided(
                r,
                x.as_ptr(),
                dims.ptr(),
                dims.len,
                strides.as_ptr(),
                strides.len(),
                0,
                self.s(),
            )
        })
    }
}
