//! A format of weights as users name it: MLX's schemes and llama.cpp's types.

use super::gguf::{FileType, GgufMix};
use super::quant::{DType, Scheme};
use std::fmt;
use std::str::FromStr;

/// A format of the weights of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NamedFormat {
    /// A conversion of mlx-lm.
    Mlx(Scheme),
    /// A GGUF file.
    Gguf(GgufMix),
}

impl NamedFormat {
    /// Reads a name; names that both worlds have, such as `bf16` and `mxfp4`, mean MLX's.
    ///
    /// # Errors
    /// When neither has such a format.
    pub fn parse(text: &str) -> Result<Self, UnknownFormat> {
        if let Ok(scheme) = text.parse() {
            return Ok(Self::Mlx(scheme));
        }
        text.parse().map(Self::Gguf).map_err(|_| UnknownFormat(text.to_owned()))
    }

    /// The GGUF format that a program on llama.cpp runs for this one; `None` for bits and groups that llama.cpp has
    /// no equal of.
    #[must_use]
    pub const fn as_gguf(self) -> Option<GgufMix> {
        match self {
            Self::Gguf(mix) => Some(mix),
            Self::Mlx(Scheme::Float(DType::BF16)) => Some(GgufMix::plain(FileType::BF16)),
            Self::Mlx(Scheme::Float(DType::F16)) => Some(GgufMix::plain(FileType::F16)),
            Self::Mlx(Scheme::Float(DType::F32)) => Some(GgufMix::plain(FileType::F32)),
            Self::Mlx(Scheme::Mxfp4 | Scheme::Mxfp4Q8) => Some(GgufMix::plain(FileType::MXFP4)),
            Self::Mlx(Scheme::Nvfp4) => Some(GgufMix::plain(FileType::NVFP4)),
            Self::Mlx(_) => None,
        }
    }
}

impl fmt::Display for NamedFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mlx(scheme) => fmt::Display::fmt(scheme, f),
            Self::Gguf(mix) => fmt::Display::fmt(mix, f),
        }
    }
}

impl FromStr for NamedFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::parse(text)
    }
}

/// The name of no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown quantization '{0}'; known: bf16 fp16 fp32 2bit 3bit 4bit 5bit 6bit 8bit (with -g32, -g64 or -g128), \
     mxfp4 nvfp4 mxfp8 mixed_2_6 mixed_3_4 mixed_3_6 mixed_4_6 mxfp4_q8, and llama.cpp's Q2_K to Q8_0, IQ1_S to \
     IQ4_XS, TQ1_0 TQ2_0 MXFP4 with their UD- and _L mixes"
)]
pub struct UnknownFormat(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_worlds_parse() {
        for (text, format) in [
            ("4bit", "affine-4-g64"),
            ("Q4_K_M", "q4_k_m"),
            ("iq3_xs", "iq3_xs"),
            ("UD-Q4_K_XL", "ud-q4_k_xl"),
            ("mxfp4", "mxfp4"),
            ("q8", "affine-8-g64"),
            ("q8_0", "q8_0"),
            ("TQ1_0", "tq1_0"),
        ] {
            let parsed: NamedFormat = text.parse().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(parsed.to_string(), format, "{text}");
        }
        assert_eq!(NamedFormat::parse("bf16"), Ok(NamedFormat::Mlx(Scheme::Float(DType::BF16))));
        assert!(NamedFormat::parse("7bit").is_err());
    }
}
