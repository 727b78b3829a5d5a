//! Gathering and scattering by index.

use super::*;

impl Ops {
    pub(in crate::engine::mlx) fn gather(
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

    pub(in crate::engine::mlx) fn scatter(
        &self,
        x: &Array,
        indices: &[&Array],
        updates: &Array,
        axes: &Axes,
        add: bool,
    ) -> Result<Array> {
        let (list, axes) = (List::new(indices), Ints::from(axes));
        let f = if add { mlx_sys::mlx_scatter_add } else { mlx_sys::mlx_scatter };
        one("scatter", |r| unsafe {
            f(r, x.as_ptr(), list.0, updates.as_ptr(), axes.ptr(), axes.len, self.s())
        })
    }

    pub(in crate::engine::mlx) fn gather_axis(
        &self,
        x: &Array,
        indices: &Array,
        axis: u8,
    ) -> Result<Array> {
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

    pub(in crate::engine::mlx) fn scatter_axis(
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
}
