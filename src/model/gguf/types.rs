//! Tensor types of GGUF, with the size of their blocks.
//!
//! Source: `enum ggml_type` in `ggml/include/ggml.h`, the block structures in `ggml/src/ggml-common.h`, `enum llama_ftype` in
//! `include/llama.h` (llama.cpp) and `GGML_QUANT_SIZES` of the PyPI package gguf. Types that ggml removed
//! (4, 5, 31 to 33, 36 to 38) are unknown here too. Forks use free numbers for types of their own; such a file
//! is refused, or found out by tensors that overlap.

use std::fmt;

/// A tensor type of ggml.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GgmlType(u32);

/// `(number, name, weights per block, bytes per block)`
const TYPES: [(u32, &str, u64, u64); 35] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
];

impl GgmlType {
    pub(crate) const F32: Self = Self(0);
    pub(crate) const F16: Self = Self(1);
    pub(crate) const Q4_0: Self = Self(2);
    pub(crate) const Q4_1: Self = Self(3);
    pub(crate) const Q5_0: Self = Self(6);
    pub(crate) const Q5_1: Self = Self(7);
    pub(crate) const Q8_0: Self = Self(8);
    pub(crate) const Q2_K: Self = Self(10);
    pub(crate) const Q3_K: Self = Self(11);
    pub(crate) const Q4_K: Self = Self(12);
    pub(crate) const Q5_K: Self = Self(13);
    pub(crate) const Q6_K: Self = Self(14);
    pub(crate) const IQ2_XXS: Self = Self(16);
    pub(crate) const IQ2_XS: Self = Self(17);
    pub(crate) const IQ3_XXS: Self = Self(18);
    pub(crate) const IQ1_S: Self = Self(19);
    pub(crate) const IQ4_NL: Self = Self(20);
    pub(crate) const IQ3_S: Self = Self(21);
    pub(crate) const IQ2_S: Self = Self(22);
    pub(crate) const IQ4_XS: Self = Self(23);
    pub(crate) const IQ1_M: Self = Self(29);
    pub(crate) const BF16: Self = Self(30);
    pub(crate) const TQ1_0: Self = Self(34);
    pub(crate) const TQ2_0: Self = Self(35);
    pub(crate) const MXFP4: Self = Self(39);
    pub(crate) const NVFP4: Self = Self(40);
    pub(crate) const Q1_0: Self = Self(41);
    pub(crate) const Q2_0: Self = Self(42);

    /// The type with that number, if ggml has it.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        TYPES.iter().any(|t| t.0 == number).then_some(Self(number))
    }

    fn row(self) -> (u32, &'static str, u64, u64) {
        TYPES.iter().copied().find(|t| t.0 == self.0).unwrap_or((self.0, "?", 1, 0))
    }

    /// ggml's name, for example `Q4_K`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Weights that share a block.
    #[must_use]
    pub fn block_weights(self) -> u64 {
        self.row().2
    }

    /// Bytes of a block.
    #[must_use]
    pub fn block_bytes(self) -> u64 {
        self.row().3
    }

    /// Bytes of a matrix of `rows` rows and `columns` columns.
    #[must_use]
    pub fn bytes(self, rows: u64, columns: u64) -> u64 {
        rows * columns.div_ceil(self.block_weights()) * self.block_bytes()
    }

    /// The type that `llama-quantize` takes for rows of `columns` weights when this one is wanted: rows that are no
    /// multiple of a block get blocks of 32, or 16-bit floats where those do not fit either
    /// (`tensor_type_fallback`).
    #[must_use]
    pub fn fitting(self, columns: u64) -> Self {
        let fits = |t: Self| columns.is_multiple_of(t.block_weights());
        if fits(self) {
            return self;
        }
        let other = match self {
            Self::Q6_K => Self::Q8_0,
            Self::Q5_K => Self::Q5_1,
            Self::Q4_K => Self::Q5_0,
            Self::Q3_K | Self::Q2_K | Self::TQ1_0 | Self::TQ2_0 | Self::Q2_0 => Self::Q4_0,
            _ => Self::IQ4_NL,
        };
        if fits(other) { other } else { Self::F16 }
    }

    /// Bits per weight, scales included: 4.5 for `Q4_K`.
    #[must_use]
    pub fn bits_per_weight(self) -> f64 {
        self.block_bytes() as f64 * 8.0 / self.block_weights() as f64
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_give_the_known_bits_per_weight() {
        let bits = |name: &str| {
            let row = TYPES.iter().find(|t| t.1 == name).expect("a known type");
            GgmlType::from_number(row.0).expect("a known number").bits_per_weight()
        };
        // Published figures of llama.cpp's `quantize` tool and of the types' definitions.
        for (name, expected) in [
            ("Q4_0", 4.5),
            ("Q4_1", 5.0),
            ("Q8_0", 8.5),
            ("Q2_K", 2.625),
            ("Q3_K", 3.4375),
            ("Q4_K", 4.5),
            ("Q5_K", 5.5),
            ("Q6_K", 6.5625),
            ("IQ2_XXS", 2.0625),
            ("IQ2_XS", 2.3125),
            ("IQ3_XXS", 3.0625),
            ("IQ1_S", 1.5625),
            ("IQ1_M", 1.75),
            ("IQ4_NL", 4.5),
            ("IQ4_XS", 4.25),
            ("TQ1_0", 1.6875),
            ("TQ2_0", 2.0625),
            ("MXFP4", 4.25),
            ("NVFP4", 4.5),
            ("BF16", 16.0),
        ] {
            assert_eq!(bits(name), expected, "{name}");
        }
    }

    #[test]
    fn removed_and_unknown_numbers_are_no_types() {
        for number in [4, 5, 31, 32, 33, 36, 37, 38, 43, u32::MAX] {
            assert_eq!(GgmlType::from_number(number), None, "{number}");
        }
    }
}
