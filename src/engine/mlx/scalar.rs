//! Numbers as MLX stores them.

use crate::model::DType;

/// MLX's code of an element type.
pub(super) const fn code(dtype: DType) -> mlx_sys::mlx_dtype {
    match dtype {
        DType::Bool => mlx_sys::mlx_dtype__MLX_BOOL,
        DType::U8 => mlx_sys::mlx_dtype__MLX_UINT8,
        DType::U32 => mlx_sys::mlx_dtype__MLX_UINT32,
        DType::I32 => mlx_sys::mlx_dtype__MLX_INT32,
        DType::I64 => mlx_sys::mlx_dtype__MLX_INT64,
        DType::F16 => mlx_sys::mlx_dtype__MLX_FLOAT16,
        DType::BF16 => mlx_sys::mlx_dtype__MLX_BFLOAT16,
        DType::F32 => mlx_sys::mlx_dtype__MLX_FLOAT32,
    }
}

/// Values in the memory layout of `dtype`; numbers that do not fit are cut like Rust's `as` does.
pub(super) fn bytes(values: &[f64], dtype: DType) -> Vec<u8> {
    let each = |f: &dyn Fn(f64, &mut Vec<u8>)| {
        let mut out = Vec::new();
        values.iter().for_each(|&v| f(v, &mut out));
        out
    };
    match dtype {
        DType::Bool => each(&|v, out| out.push(u8::from(v != 0.0))),
        DType::U8 => each(&|v, out| out.push(v as u8)),
        DType::U32 => each(&|v, out| out.extend((v as u32).to_ne_bytes())),
        DType::I32 => each(&|v, out| out.extend((v as i32).to_ne_bytes())),
        DType::I64 => each(&|v, out| out.extend((v as i64).to_ne_bytes())),
        DType::F16 => each(&|v, out| out.extend(half::f16::from_f64(v).to_ne_bytes())),
        DType::BF16 => each(&|v, out| out.extend(half::bf16::from_f64(v).to_ne_bytes())),
        DType::F32 => each(&|v, out| out.extend((v as f32).to_ne_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_layout_of_their_type() {
        assert_eq!(bytes(&[1.0, 0.0], DType::Bool), [1, 0]);
        assert_eq!(bytes(&[-1.0], DType::I32), (-1i32).to_ne_bytes());
        assert_eq!(bytes(&[1.5], DType::BF16), 0x3fc0u16.to_ne_bytes());
        assert_eq!(bytes(&[1.5], DType::F16), 0x3e00u16.to_ne_bytes());
        assert_eq!(bytes(&[f64::INFINITY], DType::F32), f32::INFINITY.to_ne_bytes());
    }
}
