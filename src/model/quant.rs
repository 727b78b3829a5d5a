//! Number formats and quantization schemes, as mlx-lm's `convert` knows them.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Element type of an MLX array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// One byte, true or false.
    Bool,
    /// Unsigned, 1 byte (scales of the microscaling formats).
    U8,
    /// Unsigned, 4 bytes (packed quantized weights, expert indices).
    U32,
    /// Signed, 4 bytes (token ids).
    I32,
    /// Signed, 8 bytes (positions and hashes of token ids).
    I64,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// IEEE single precision.
    F32,
}

impl DType {
    /// Bytes per element.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Bool | Self::U8 => 1,
            Self::F16 | Self::BF16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::I64 => 8,
        }
    }

    /// MLX's name of the type, for example `bfloat16`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "uint8",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
            Self::F32 => "float32",
        }
    }

    /// Whether the type is a floating-point type.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32)
    }

    /// The lowest finite value of a floating-point type (`mx.finfo(dtype).min`); that of float32 for all others.
    #[must_use]
    pub const fn lowest(self) -> f64 {
        match self {
            Self::F16 => -65_504.0,
            Self::BF16 => -3.389_531_389_251_535_5e38,
            _ => f32::MIN as f64,
        }
    }

    /// MLX's type promotion of two arrays (`mlx/dtype.cpp`).
    #[must_use]
    pub fn promote(self, other: Self) -> Self {
        use DType::{BF16, Bool, F16, F32, I32, I64, U8, U32};
        match (self, other) {
            (a, b) if a == b => a,
            (F32, _) | (_, F32) | (F16, BF16) | (BF16, F16) => F32,
            (F16, _) | (_, F16) => F16,
            (BF16, _) | (_, BF16) => BF16,
            (I64, _) | (_, I64) | (I32, U32) | (U32, I32) => I64,
            (I32, _) | (_, I32) => I32,
            (U32, _) | (_, U32) => U32,
            (U8, _) | (_, U8) => U8,
            (Bool, Bool) => Bool,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl schemars::JsonSchema for DType {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DType".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

impl Serialize for DType {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

/// Quantization mode of MLX's `quantize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// `w = scale * q + bias` per group; scales and biases in the type of the weights.
    Affine,
    /// Microscaling fp4: group 32, one e8m0 scale byte, no bias.
    Mxfp4,
    /// NVIDIA fp4: group 16, one e4m3 scale byte, no bias.
    Nvfp4,
    /// Microscaling fp8: group 32, one e8m0 scale byte, no bias.
    Mxfp8,
}

impl Mode {
    /// MLX's name of the mode.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Affine => "affine",
            Self::Mxfp4 => "mxfp4",
            Self::Nvfp4 => "nvfp4",
            Self::Mxfp8 => "mxfp8",
        }
    }
}

/// How one matrix is packed along its last axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packing {
    /// Quantization mode.
    pub mode: Mode,
    /// Bits per weight, without scales.
    pub bits: u32,
    /// Weights that share a scale.
    pub group: u32,
}

impl Packing {
    /// Affine packing.
    #[must_use]
    pub const fn affine(bits: u32, group: u32) -> Self {
        Self { mode: Mode::Affine, bits, group }
    }

    /// Microscaling fp4.
    pub const MXFP4: Self = Self { mode: Mode::Mxfp4, bits: 4, group: 32 };
    /// NVIDIA fp4.
    pub const NVFP4: Self = Self { mode: Mode::Nvfp4, bits: 4, group: 16 };
    /// Microscaling fp8.
    pub const MXFP8: Self = Self { mode: Mode::Mxfp8, bits: 8, group: 32 };

    /// Type of the scales (and biases) of a matrix whose weights have type `dtype`.
    #[must_use]
    pub const fn scale_dtype(self, dtype: DType) -> DType {
        match self.mode {
            Mode::Affine => dtype,
            Mode::Mxfp4 | Mode::Nvfp4 | Mode::Mxfp8 => DType::U8,
        }
    }

    /// Whether a `biases` tensor stands beside the scales.
    #[must_use]
    pub const fn has_biases(self) -> bool {
        matches!(self.mode, Mode::Affine)
    }
}

/// Bits of a mixed recipe of `mlx_lm.convert --quant-predicate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Recipe {
    /// Bits of most matrices.
    pub low: u32,
    /// Bits of the head and of the value and down projections of the outer and every third layer.
    pub high: u32,
}

/// What `mlx_lm.convert` is asked to do with a whole model.
///
/// Parses from a hub suffix (`4bit`, `8bit-g32`, `mxfp4`, `mixed_3_6`, `bf16`), from the identifier that
/// [`fmt::Display`] prints (`affine-4-g64`) and from the underscored form of the conformance vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Not quantized; the given floating-point type.
    Float(DType),
    /// One affine packing for every matrix that allows it.
    Affine {
        /// Bits per weight: 2, 3, 4, 5, 6 or 8.
        bits: u32,
        /// Group size: 32, 64 or 128.
        group: u32,
    },
    /// Microscaling fp4, group 32.
    Mxfp4,
    /// NVIDIA fp4, group 16.
    Nvfp4,
    /// Microscaling fp8, group 32.
    Mxfp8,
    /// `mixed_2_6`, `mixed_3_4`, `mixed_3_6` or `mixed_4_6`, with the group size.
    Mixed(Recipe, u32),
    /// The layout of the published gpt-oss conversions: experts mxfp4, everything else affine 8-bit, group 64.
    Mxfp4Q8,
}

impl Scheme {
    /// Affine 4-bit with group size 64, mlx-lm's default.
    pub const DEFAULT: Self = Self::Affine { bits: 4, group: 64 };

    /// Bit widths that MLX's affine mode has.
    pub const AFFINE_BITS: [u32; 6] = [2, 3, 4, 5, 6, 8];
    /// Group sizes that MLX's affine mode has.
    pub const AFFINE_GROUPS: [u32; 3] = [32, 64, 128];
    /// Low and high bits of the recipes that mlx-lm has.
    pub const RECIPES: [Recipe; 4] = [
        Recipe { low: 2, high: 6 },
        Recipe { low: 3, high: 4 },
        Recipe { low: 3, high: 6 },
        Recipe { low: 4, high: 6 },
    ];

    /// The packing of an ordinary matrix, or `None` when the scheme leaves weights unquantized.
    #[must_use]
    pub const fn packing(self) -> Option<Packing> {
        match self {
            Self::Float(_) => None,
            Self::Affine { bits, group } => Some(Packing::affine(bits, group)),
            Self::Mxfp4 => Some(Packing::MXFP4),
            Self::Nvfp4 => Some(Packing::NVFP4),
            Self::Mxfp8 => Some(Packing::MXFP8),
            Self::Mixed(recipe, group) => Some(Packing::affine(recipe.low, group)),
            Self::Mxfp4Q8 => Some(Packing::affine(8, 64)),
        }
    }

    /// The suffix that hub repositories use: `4bit`, `4bit-g32`, `mxfp4`, `bf16`, `mixed_3_6`.
    #[must_use]
    pub fn suffix(self) -> String {
        match self {
            Self::Float(DType::F32) => "fp32".to_owned(),
            Self::Float(DType::F16) => "fp16".to_owned(),
            Self::Float(_) => "bf16".to_owned(),
            Self::Affine { bits, group: 64 } => format!("{bits}bit"),
            Self::Affine { bits, group } => format!("{bits}bit-g{group}"),
            Self::Mxfp4 => "mxfp4".to_owned(),
            Self::Nvfp4 => "nvfp4".to_owned(),
            Self::Mxfp8 => "mxfp8".to_owned(),
            Self::Mixed(r, 64) => format!("mixed_{}_{}", r.low, r.high),
            Self::Mixed(r, group) => format!("mixed_{}_{}-g{group}", r.low, r.high),
            Self::Mxfp4Q8 => "mxfp4_q8".to_owned(),
        }
    }
}

impl fmt::Display for Scheme {
    /// The identifier used in JSON: `affine-4-g64`, `bf16`, `mxfp4`, `mixed-3-6`, `mxfp4-q8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Affine { bits, group } => format!("affine-{bits}-g{group}"),
            other => other.suffix().replace('_', "-"),
        };
        f.pad(&text)
    }
}

impl schemars::JsonSchema for Scheme {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scheme".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

impl Serialize for Scheme {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A quantization name that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown quantization '{0}'; known: bf16 fp16 fp32 2bit 3bit 4bit 5bit 6bit 8bit (with -g32, -g64 or -g128), \
     mxfp4 nvfp4 mxfp8 mixed_2_6 mixed_3_4 mixed_3_6 mixed_4_6 mxfp4_q8"
)]
pub struct UnknownScheme(pub String);

impl FromStr for Scheme {
    type Err = UnknownScheme;

    fn from_str(text: &str) -> Result<Self, UnknownScheme> {
        let unknown = || UnknownScheme(text.to_owned());
        let name = text.trim().to_ascii_lowercase().replace('_', "-");
        let (name, group) = match name.rsplit_once("-g") {
            Some((head, digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                let group = digits.trim_start_matches('s').parse().map_err(|_| unknown())?;
                (head.to_owned(), Some(group))
            }
            _ => match name.strip_suffix("-gs32") {
                Some(head) => (head.to_owned(), Some(32)),
                None => (name, None),
            },
        };
        let scheme = match name.as_str() {
            "bf16" | "bfloat16" => Self::Float(DType::BF16),
            "fp16" | "f16" | "float16" => Self::Float(DType::F16),
            "fp32" | "f32" | "float32" => Self::Float(DType::F32),
            "mxfp4" => Self::Mxfp4,
            "nvfp4" => Self::Nvfp4,
            "mxfp8" => Self::Mxfp8,
            "mxfp4-q8" => Self::Mxfp4Q8,
            other => Self::parse_integer(other, group.unwrap_or(64)).ok_or_else(unknown)?,
        };
        let implied = scheme.packing().map(|p| p.group);
        if group.is_some() && group != implied {
            return Err(unknown());
        }
        Ok(scheme)
    }
}

impl Scheme {
    fn parse_integer(name: &str, group: u32) -> Option<Self> {
        if !Self::AFFINE_GROUPS.contains(&group) {
            return None;
        }
        if let Some(bits) = name.strip_prefix("mixed-") {
            let (low, high) = bits.split_once('-')?;
            let recipe = Recipe { low: low.parse().ok()?, high: high.parse().ok()? };
            return Self::RECIPES.contains(&recipe).then_some(Self::Mixed(recipe, group));
        }
        let digits = name.strip_prefix("affine-").unwrap_or_else(|| {
            name.trim_start_matches('q')
                .trim_end_matches('s')
                .trim_end_matches("bit")
                .trim_end_matches('-')
        });
        let bits = digits.parse().ok()?;
        Self::AFFINE_BITS.contains(&bits).then_some(Self::Affine { bits, group })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Scheme> {
        let mut schemes: Vec<Scheme> =
            [DType::BF16, DType::F16, DType::F32].map(Scheme::Float).to_vec();
        for bits in Scheme::AFFINE_BITS {
            for group in Scheme::AFFINE_GROUPS {
                schemes.push(Scheme::Affine { bits, group });
            }
        }
        schemes.extend([Scheme::Mxfp4, Scheme::Nvfp4, Scheme::Mxfp8, Scheme::Mxfp4Q8]);
        schemes.extend(Scheme::RECIPES.map(|r| Scheme::Mixed(r, 64)));
        schemes
    }

    #[test]
    fn every_printed_form_parses_back() {
        for scheme in all() {
            let forms = [scheme.to_string(), scheme.suffix(), scheme.to_string().replace('-', "_")];
            for form in forms {
                assert_eq!(form.parse(), Ok(scheme), "{form}");
            }
        }
    }

    #[test]
    fn hub_spellings_parse() {
        for (text, scheme) in [
            ("4bit", Scheme::DEFAULT),
            ("4-bit", Scheme::DEFAULT),
            ("4Bit", Scheme::DEFAULT),
            ("4bits", Scheme::DEFAULT),
            ("q4", Scheme::DEFAULT),
            ("4bit-gs32", Scheme::Affine { bits: 4, group: 32 }),
            ("8bit-g128", Scheme::Affine { bits: 8, group: 128 }),
            ("MXFP4-Q8", Scheme::Mxfp4Q8),
            ("mxfp4-g32", Scheme::Mxfp4),
        ] {
            assert_eq!(text.parse(), Ok(scheme), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "7bit", "4bit-g16", "mxfp4-g64", "bf16-g64", "mixed_2_4", "four", "-g64"] {
            assert!(text.parse::<Scheme>().is_err(), "{text}");
        }
    }
}
