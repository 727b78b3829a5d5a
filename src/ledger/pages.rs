//! Page rounding of MLX's Metal allocator.

/// Page size of Apple Silicon, and the size above which MLX rounds a buffer up to whole pages
/// (`mlx/backend/metal/allocator.cpp`).
pub const PAGE: u64 = 16_384;

/// Bytes that MLX's Metal allocator takes for a request of `bytes`.
#[must_use]
pub const fn round(bytes: u64) -> u64 {
    if bytes <= PAGE { bytes } else { bytes.div_ceil(PAGE) * PAGE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_requests_are_rounded() {
        assert_eq!(round(1), 1);
        assert_eq!(round(PAGE), PAGE);
        assert_eq!(round(PAGE + 1), 2 * PAGE);
    }
}
