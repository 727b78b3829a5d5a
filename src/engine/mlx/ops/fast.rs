//! The fused kernels of `mlx.core.fast`.

use super::*;

impl Ops {
    pub(in crate::engine::mlx) fn rms_norm(
        &self,
        x: &Array,
        weight: Option<&Array>,
        eps: f32,
    ) -> Result<Array> {
        one("rms_norm", |r| unsafe {
            mlx_sys::mlx_fast_rms_norm(r, x.as_ptr(), or_none(weight), eps, self.s())
        })
    }

    pub(in crate::engine::mlx) fn layer_norm(
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

    /// With the position of the first token as a number, or as an array.
    pub(in crate::engine::mlx) fn rope(
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

    pub(in crate::engine::mlx) fn attention(
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
