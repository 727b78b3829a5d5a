//! Views, and the parts of arrays.

use super::*;

impl Ops {
    pub(in crate::engine::mlx) fn reshape(&self, x: &Array, to: &Shape) -> Result<Array> {
        let d = Ints::from(to);
        one("reshape", |r| unsafe { mlx_sys::mlx_reshape(r, x.as_ptr(), d.ptr(), d.len, self.s()) })
    }

    pub(in crate::engine::mlx) fn transpose(&self, x: &Array, order: &Axes) -> Result<Array> {
        let d = Ints::from(order);
        one("transpose", |r| unsafe {
            mlx_sys::mlx_transpose_axes(r, x.as_ptr(), d.ptr(), d.len, self.s())
        })
    }

    pub(in crate::engine::mlx) fn broadcast(&self, x: &Array, to: &Shape) -> Result<Array> {
        let d = Ints::from(to);
        one("broadcast_to", |r| unsafe {
            mlx_sys::mlx_broadcast_to(r, x.as_ptr(), d.ptr(), d.len, self.s())
        })
    }

    /// `start`, and `start + (n - 1) * step + 1` as the end, per axis.
    pub(in crate::engine::mlx) fn slice(
        &self,
        x: &Array,
        start: &Shape,
        step: &Shape,
        to: &Shape,
    ) -> Result<Array> {
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
    pub(in crate::engine::mlx) fn slice_update(
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

    pub(in crate::engine::mlx) fn split(
        &self,
        x: &Array,
        at: &[u32],
        axis: u8,
    ) -> Result<Vec<Array>> {
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

    pub(in crate::engine::mlx) fn concatenate(&self, parts: &[&Array], axis: u8) -> Result<Array> {
        let list = List::new(parts);
        one("concatenate", |r| unsafe {
            mlx_sys::mlx_concatenate_axis(r, list.0, c_int::from(axis), self.s())
        })
    }

    /// `filling` around `x`: `low` elements before it per axis, the rest of `to` behind it.
    pub(in crate::engine::mlx) fn pad(
        &self,
        x: &Array,
        filling: &Array,
        low: &Shape,
        to: &Shape,
    ) -> Result<Array> {
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

    pub(in crate::engine::mlx) fn contiguous(&self, x: &Array) -> Result<Array> {
        one("contiguous", |r| unsafe { mlx_sys::mlx_contiguous(r, x.as_ptr(), false, self.s()) })
    }

    /// `x`, evaluated together with `others`.
    pub(in crate::engine::mlx) fn depends(&self, x: &Array, others: &[&Array]) -> Result<Array> {
        let (x, others) = (List::new(&[x]), List::new(others));
        let mut out = many("depends", |r| unsafe { mlx_sys::mlx_depends(r, x.0, others.0) })?;
        out.pop().ok_or_else(|| EngineError::Unsupported("depends".into()))
    }
}
