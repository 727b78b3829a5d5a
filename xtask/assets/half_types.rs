
/// An IEEE half; the C headers declare it on Arm only.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct float16_t(pub u16);

/// A bfloat16; the C headers declare it on Arm only.
pub type bfloat16_t = u16;

pub unsafe fn mlx_array_item_float16(
    res: *mut float16_t,
    arr: mlx_array,
) -> ::std::os::raw::c_int {
    mlx_array_item_uint16(res.cast(), arr)
}

pub unsafe fn mlx_array_item_bfloat16(
    res: *mut bfloat16_t,
    arr: mlx_array,
) -> ::std::os::raw::c_int {
    mlx_array_item_uint16(res.cast(), arr)
}

pub unsafe fn mlx_array_data_float16(arr: mlx_array) -> *const float16_t {
    mlx_array_data_uint16(arr).cast()
}

pub unsafe fn mlx_array_data_bfloat16(arr: mlx_array) -> *const bfloat16_t {
    mlx_array_data_uint16(arr).cast()
}
