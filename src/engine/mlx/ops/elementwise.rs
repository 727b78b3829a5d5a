//! Element-wise operations, and arrays that are made of nothing.

use super::*;

impl Ops {
    pub(in crate::engine::mlx) fn unary(
        &self,
        what: &'static str,
        f: UnaryFn,
        x: &Array,
    ) -> Result<Array> {
        // SAFETY: valid handles.
        one(what, |r| unsafe { f(r, x.as_ptr(), self.s()) })
    }

    pub(in crate::engine::mlx) fn binary(
        &self,
        what: &'static str,
        f: BinaryFn,
        a: &Array,
        b: &Array,
    ) -> Result<Array> {
        // SAFETY: valid handles.
        one(what, |r| unsafe { f(r, a.as_ptr(), b.as_ptr(), self.s()) })
    }

    pub(in crate::engine::mlx) fn as_type(&self, x: &Array, dtype: DType) -> Result<Array> {
        one("astype", |r| unsafe {
            mlx_sys::mlx_astype(r, x.as_ptr(), scalar::code(dtype), self.s())
        })
    }

    pub(in crate::engine::mlx) fn select(
        &self,
        condition: &Array,
        a: &Array,
        b: &Array,
    ) -> Result<Array> {
        one("where", |r| unsafe {
            mlx_sys::mlx_where(r, condition.as_ptr(), a.as_ptr(), b.as_ptr(), self.s())
        })
    }

    pub(in crate::engine::mlx) fn full(
        &self,
        shape: &Shape,
        value: &Array,
        dtype: DType,
    ) -> Result<Array> {
        let d = Ints::from(shape);
        one("full", |r| unsafe {
            mlx_sys::mlx_full(r, d.ptr(), d.len, value.as_ptr(), scalar::code(dtype), self.s())
        })
    }

    pub(in crate::engine::mlx) fn arange(
        &self,
        start: f64,
        step: f64,
        count: u32,
        dtype: DType,
    ) -> Result<Array> {
        let stop = start + step * f64::from(count);
        one("arange", |r| unsafe {
            mlx_sys::mlx_arange(r, start, stop, step, scalar::code(dtype), self.s())
        })
    }

    pub(in crate::engine::mlx) fn to_fp8(&self, x: &Array) -> Result<Array> {
        one("to_fp8", |r| unsafe { mlx_sys::mlx_to_fp8(r, x.as_ptr(), self.s()) })
    }

    pub(in crate::engine::mlx) fn fp8_to(&self, x: &Array, dtype: DType) -> Result<Array> {
        one("from_fp8", |r| unsafe {
            mlx_sys::mlx_from_fp8(r, x.as_ptr(), scalar::code(dtype), self.s())
        })
    }

    /// Draws an index of the last axis by logits.
    pub(in crate::engine::mlx) fn categorical(&self, logits: &Array, seed: u64) -> Result<Array> {
        let key = one("random key", |r| unsafe { mlx_sys::mlx_random_key(r, seed) })?;
        one("categorical", |r| unsafe {
            mlx_sys::mlx_random_categorical(r, logits.as_ptr(), -1, key.as_ptr(), self.s())
        })
    }
}
