//! Reductions, sorting and what else runs along an axis.

use super::*;

impl Ops {
    /// Over the last axis.
    pub(in crate::engine::mlx) fn softmax(&self, x: &Array, precise: bool) -> Result<Array> {
        one("softmax", |r| unsafe {
            mlx_sys::mlx_softmax_axis(r, x.as_ptr(), -1, precise, self.s())
        })
    }

    /// Over the last axis, which stays as 1.
    pub(in crate::engine::mlx) fn logsumexp(&self, x: &Array) -> Result<Array> {
        one("logsumexp", |r| unsafe {
            mlx_sys::mlx_logsumexp_axis(r, x.as_ptr(), -1, true, self.s())
        })
    }

    /// The position of the largest or smallest element; the axis stays as 1.
    pub(in crate::engine::mlx) fn arg_reduce(
        &self,
        x: &Array,
        axis: u8,
        max: bool,
    ) -> Result<Array> {
        let f = if max { mlx_sys::mlx_argmax_axis } else { mlx_sys::mlx_argmin_axis };
        one("argmax", |r| unsafe { f(r, x.as_ptr(), c_int::from(axis), true, self.s()) })
    }

    /// A reduction whose axes stay as 1.
    pub(in crate::engine::mlx) fn reduce(
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

    pub(in crate::engine::mlx) fn cumsum(&self, x: &Array, axis: u8) -> Result<Array> {
        let dtype = mlx_optional_dtype { value: 0, has_value: false };
        one("cumsum", |r| unsafe {
            mlx_sys::mlx_cumsum_axis(r, x.as_ptr(), c_int::from(axis), false, true, dtype, self.s())
        })
    }

    pub(in crate::engine::mlx) fn sort(
        &self,
        x: &Array,
        axis: u8,
        positions: bool,
    ) -> Result<Array> {
        let f = if positions { mlx_sys::mlx_argsort_axis } else { mlx_sys::mlx_sort_axis };
        one("sort", |r| unsafe { f(r, x.as_ptr(), c_int::from(axis), self.s()) })
    }

    pub(in crate::engine::mlx) fn partition(
        &self,
        x: &Array,
        axis: u8,
        kth: u32,
        positions: bool,
    ) -> Result<Array> {
        let f =
            if positions { mlx_sys::mlx_argpartition_axis } else { mlx_sys::mlx_partition_axis };
        one("partition", |r| unsafe { f(r, x.as_ptr(), kth as c_int, c_int::from(axis), self.s()) })
    }
}
