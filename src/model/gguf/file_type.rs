//! File types: what `llama-quantize` is asked to make of a whole model.
//!
//! Source: `enum llama_ftype` in `include/llama.h` and `llama_ftype_get_default_type` in `src/llama-quant.cpp` of
//! llama.cpp at 007dbbf3.

use super::GgmlType;
use std::fmt;

/// A file type of llama.cpp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, non_camel_case_types)]
pub enum FileType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q1_0,
    Q2_0,
    Q2_K,
    Q2_K_S,
    Q3_K_S,
    Q3_K_M,
    Q3_K_L,
    Q4_K_S,
    Q4_K_M,
    Q5_K_S,
    Q5_K_M,
    Q6_K,
    IQ1_S,
    IQ1_M,
    IQ2_XXS,
    IQ2_XS,
    IQ2_S,
    IQ2_M,
    IQ3_XXS,
    IQ3_XS,
    IQ3_S,
    IQ3_M,
    IQ4_NL,
    IQ4_XS,
    TQ1_0,
    TQ2_0,
    MXFP4,
    NVFP4,
}

use FileType as F;
use GgmlType as T;

/// File type, number in `general.file_type`, name, and the type of a matrix without a rule of its own.
const FILE_TYPES: [(FileType, u64, &str, GgmlType); 36] = [
    (F::F32, 0, "F32", T::F32),
    (F::F16, 1, "F16", T::F16),
    (F::Q4_0, 2, "Q4_0", T::Q4_0),
    (F::Q4_1, 3, "Q4_1", T::Q4_1),
    (F::Q8_0, 7, "Q8_0", T::Q8_0),
    (F::Q5_0, 8, "Q5_0", T::Q5_0),
    (F::Q5_1, 9, "Q5_1", T::Q5_1),
    (F::Q2_K, 10, "Q2_K", T::Q2_K),
    (F::Q3_K_S, 11, "Q3_K_S", T::Q3_K),
    (F::Q3_K_M, 12, "Q3_K_M", T::Q3_K),
    (F::Q3_K_L, 13, "Q3_K_L", T::Q3_K),
    (F::Q4_K_S, 14, "Q4_K_S", T::Q4_K),
    (F::Q4_K_M, 15, "Q4_K_M", T::Q4_K),
    (F::Q5_K_S, 16, "Q5_K_S", T::Q5_K),
    (F::Q5_K_M, 17, "Q5_K_M", T::Q5_K),
    (F::Q6_K, 18, "Q6_K", T::Q6_K),
    (F::IQ2_XXS, 19, "IQ2_XXS", T::IQ2_XXS),
    (F::IQ2_XS, 20, "IQ2_XS", T::IQ2_XS),
    (F::Q2_K_S, 21, "Q2_K_S", T::Q2_K),
    (F::IQ3_XS, 22, "IQ3_XS", T::IQ3_S),
    (F::IQ3_XXS, 23, "IQ3_XXS", T::IQ3_XXS),
    (F::IQ1_S, 24, "IQ1_S", T::IQ1_S),
    (F::IQ4_NL, 25, "IQ4_NL", T::IQ4_NL),
    (F::IQ3_S, 26, "IQ3_S", T::IQ3_S),
    (F::IQ3_M, 27, "IQ3_M", T::IQ3_S),
    (F::IQ2_S, 28, "IQ2_S", T::IQ2_XS),
    (F::IQ2_M, 29, "IQ2_M", T::IQ2_S),
    (F::IQ4_XS, 30, "IQ4_XS", T::IQ4_XS),
    (F::IQ1_M, 31, "IQ1_M", T::IQ1_M),
    (F::BF16, 32, "BF16", T::BF16),
    (F::TQ1_0, 36, "TQ1_0", T::TQ1_0),
    (F::TQ2_0, 37, "TQ2_0", T::TQ2_0),
    (F::MXFP4, 38, "MXFP4_MOE", T::MXFP4),
    (F::NVFP4, 39, "NVFP4", T::NVFP4),
    (F::Q1_0, 40, "Q1_0", T::Q1_0),
    (F::Q2_0, 41, "Q2_0", T::Q2_0),
];

/// Set in `general.file_type` when llama.cpp guessed it.
const GUESSED: u64 = 1024;

/// The name of a `general.file_type`: `Q4_K_M` for 15.
#[must_use]
pub fn file_type_name(number: u64) -> Option<&'static str> {
    FileType::from_number(number).map(FileType::name)
}

impl FileType {
    /// All file types.
    pub fn all() -> impl Iterator<Item = Self> {
        FILE_TYPES.iter().map(|row| row.0)
    }

    /// The file type of a `general.file_type`.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        let number = number & !GUESSED;
        FILE_TYPES.iter().find(|row| row.1 == number).map(|row| row.0)
    }

    fn row(self) -> &'static (Self, u64, &'static str, GgmlType) {
        FILE_TYPES.iter().find(|row| row.0 == self).unwrap_or(&FILE_TYPES[0])
    }

    /// llama.cpp's name, for example `Q4_K_M`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// The type of a matrix without a rule of its own.
    #[must_use]
    pub fn default_type(self) -> GgmlType {
        self.row().3
    }

    /// Whether weights stay floating-point numbers.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_type_has_one_row() {
        for (i, row) in FILE_TYPES.iter().enumerate() {
            assert!(
                FILE_TYPES.iter().skip(i + 1).all(|other| other.0 != row.0 && other.1 != row.1)
            );
            assert_eq!(FileType::from_number(row.1), Some(row.0));
        }
    }

    #[test]
    fn file_types_have_names() {
        assert_eq!(file_type_name(15), Some("Q4_K_M"));
        assert_eq!(file_type_name(15 + GUESSED), Some("Q4_K_M"));
        assert_eq!(file_type_name(4), None);
        assert_eq!(file_type_name(u64::MAX), None);
    }
}
