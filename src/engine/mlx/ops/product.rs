//! Products with dense and packed matrices.

use super::*;

impl Ops {
    pub(in crate::engine::mlx) fn matmul(&self, a: &Array, b: &Array) -> Result<Array> {
        self.binary("matmul", mlx_sys::mlx_matmul, a, b)
    }

    pub(in crate::engine::mlx) fn addmm(&self, c: &Array, a: &Array, b: &Array) -> Result<Array> {
        one("addmm", |r| unsafe {
            mlx_sys::mlx_addmm(r, c.as_ptr(), a.as_ptr(), b.as_ptr(), 1.0, 1.0, self.s())
        })
    }

    pub(in crate::engine::mlx) fn quantized_matmul(
        &self,
        x: &Array,
        w: PackedRef<'_>,
        transpose: bool,
    ) -> Result<Array> {
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

    pub(in crate::engine::mlx) fn gather_mm(
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

    pub(in crate::engine::mlx) fn gather_qmm(
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
    pub(in crate::engine::mlx) fn quantize(
        &self,
        x: &Array,
        packing: Packing,
    ) -> Result<Vec<Array>> {
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

    pub(in crate::engine::mlx) fn dequantize(
        &self,
        w: PackedRef<'_>,
        dtype: DType,
    ) -> Result<Array> {
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

    pub(in crate::engine::mlx) fn conv1d(
        &self,
        x: &Array,
        weight: &Array,
        groups: u32,
    ) -> Result<Array> {
        one("conv1d", |r| unsafe {
            mlx_sys::mlx_conv1d(r, x.as_ptr(), weight.as_ptr(), 1, 0, 1, groups as c_int, self.s())
        })
    }

    pub(in crate::engine::mlx) fn hadamard(&self, x: &Array, scale: f32) -> Result<Array> {
        let scale = mlx_optional_float { value: scale, has_value: true };
        one("hadamard_transform", |r| unsafe {
            mlx_sys::mlx_hadamard_transform(r, x.as_ptr(), scale, self.s())
        })
    }
}
