//! Formats of GGUF files as llama.cpp's `llama-quantize` writes them: which type each matrix gets.
//!
//! Rules: `llama_tensor_get_type` of llama.cpp (`src/llama-quant.cpp`), for the formats of the measurement file. The
//! value and down projections of the outer and every third layer, and the output matrix, get more bits in the `_M`
//! mixes. Matrices whose rows are no multiple of 256 fall back to a type with blocks of 32.

use std::fmt;
use std::str::FromStr;

/// A ggml tensor type: bytes and weights of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum GgmlType {
    F16,
    BF16,
    Q8_0,
    Q6K,
    Q5K,
    Q4K,
    Q3K,
    Q2K,
    Q5_0,
    Q5_1,
    Q4_0,
    Q4_1,
    Iq4Nl,
    Mxfp4,
}

impl GgmlType {
    /// Bytes and weights of a block (`ggml/src/ggml-common.h`).
    #[must_use]
    pub const fn block(self) -> (u64, u64) {
        match self {
            Self::F16 | Self::BF16 => (2, 1),
            Self::Q8_0 => (34, 32),
            Self::Q6K => (210, 256),
            Self::Q5K => (176, 256),
            Self::Q4K => (144, 256),
            Self::Q3K => (110, 256),
            Self::Q2K => (84, 256),
            Self::Q5_0 => (22, 32),
            Self::Q5_1 => (24, 32),
            Self::Q4_0 | Self::Iq4Nl => (18, 32),
            Self::Q4_1 => (20, 32),
            Self::Mxfp4 => (17, 32),
        }
    }

    /// Bytes of a matrix of `rows` rows and `columns` columns, with the fall-back for narrow blocks.
    #[must_use]
    pub fn bytes(self, rows: u64, columns: u64) -> u64 {
        let fitting = if columns % self.block().1 == 0 { self } else { self.fall_back() };
        let (bytes, weights) = fitting.block();
        rows * columns.div_ceil(weights) * bytes
    }

    const fn fall_back(self) -> Self {
        match self {
            Self::Q6K => Self::Q8_0,
            Self::Q5K => Self::Q5_1,
            Self::Q4K => Self::Q5_0,
            Self::Q3K | Self::Q2K => Self::Q4_0,
            other => other,
        }
    }
}

/// A format of a whole GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum GgufMix {
    F16,
    BF16,
    Q8_0,
    Q6K,
    Q5KM,
    Q5KS,
    Q4KM,
    Q4KS,
    Q4KXl,
    Q4_0,
    Q4_1,
    Q3KM,
    Iq4Nl,
    Mxfp4,
}

/// What a matrix is for, as far as the mixes care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The output matrix, or the embedding when it serves as one.
    Output,
    /// The token embedding.
    Embedding,
    /// Value projection.
    Value,
    /// Down projection of an MLP or of experts.
    Down,
    /// Routed experts, except their down projection.
    Expert,
    /// Anything else.
    Other,
}

/// An unknown format name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown GGUF format '{0}'")]
pub struct UnknownMix(pub String);

impl GgufMix {
    const ALL: [(Self, &'static str); 17] = [
        (Self::F16, "f16"),
        (Self::BF16, "bf16"),
        (Self::Q8_0, "q8_0"),
        (Self::Q6K, "q6_k"),
        (Self::Q5KM, "q5_k_m"),
        (Self::Q5KS, "q5_k_s"),
        (Self::Q4KM, "q4_k_m"),
        (Self::Q4KS, "q4_k_s"),
        (Self::Q4KXl, "q4_k_xl"),
        (Self::Q4_0, "q4_0"),
        (Self::Q4_1, "q4_1"),
        (Self::Q3KM, "q3_k_m"),
        (Self::Iq4Nl, "iq4_nl"),
        (Self::Mxfp4, "mxfp4"),
        // Dynamic mixes of Unsloth, within 2 % of these.
        (Self::Q4KM, "ud-q4_k_m"),
        (Self::Q4KXl, "ud-q4_k_xl"),
        (Self::Q5KM, "q5_k_xl"),
    ];

    /// The customary format with about this many bits per weight.
    #[must_use]
    pub fn nearest(bits_per_weight: f64) -> Self {
        let formats = [
            (3.9, Self::Q3KM),
            (4.85, Self::Q4KM),
            (5.7, Self::Q5KM),
            (6.6, Self::Q6K),
            (8.5, Self::Q8_0),
            (16.0, Self::F16),
        ];
        let distance = |bits: f64| (bits / bits_per_weight.max(0.1)).ln().abs();
        let nearest = formats.into_iter().min_by(|a, b| distance(a.0).total_cmp(&distance(b.0)));
        nearest.map_or(Self::Q4KM, |(_, mix)| mix)
    }

    /// The type of a matrix of layer `layer` of `layers`.
    #[must_use]
    pub fn tensor_type(self, role: Role, layer: u64, layers: u64) -> GgmlType {
        use GgmlType as T;
        let more = use_more_bits(layer, layers);
        match (self, role) {
            (Self::F16, _) => T::F16,
            (Self::BF16, _) => T::BF16,
            (Self::Q8_0, _) => T::Q8_0,
            (Self::Mxfp4, Role::Expert | Role::Down) => T::Mxfp4,
            (Self::Mxfp4, _) => T::Q8_0,
            (_, Role::Output) => T::Q6K,
            (Self::Q6K, _) => T::Q6K,
            (Self::Q5KM, Role::Value | Role::Down) if more => T::Q6K,
            (Self::Q5KM | Self::Q5KS, _) => T::Q5K,
            (Self::Q4KM | Self::Q4KXl, Role::Value | Role::Down) if more => T::Q6K,
            (Self::Q4KXl, Role::Value) => T::Q5K,
            (Self::Q4KS, Role::Value) if layer < 4 => T::Q5K,
            (Self::Q4KS, Role::Down) if layer < layers / 8 => T::Q5K,
            (Self::Q4KM | Self::Q4KS | Self::Q4KXl, _) => T::Q4K,
            (Self::Q3KM, Role::Value) => {
                if layer < 2 {
                    T::Q5K
                } else {
                    T::Q4K
                }
            }
            (Self::Q3KM, Role::Down) => {
                if layer < layers / 16 {
                    T::Q5K
                } else if more {
                    T::Q4K
                } else {
                    T::Q3K
                }
            }
            (Self::Q3KM, _) => T::Q3K,
            (Self::Q4_0, _) => T::Q4_0,
            (Self::Q4_1, _) => T::Q4_1,
            (Self::Iq4Nl, _) => T::Iq4Nl,
        }
    }
}

/// `use_more_bits` of llama.cpp.
const fn use_more_bits(layer: u64, layers: u64) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

impl fmt::Display for GgufMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(mix, _)| mix == self).map_or("?", |(_, name)| name);
        f.pad(name)
    }
}

impl FromStr for GgufMix {
    type Err = UnknownMix;

    fn from_str(text: &str) -> Result<Self, UnknownMix> {
        let name = text.to_lowercase().replace('-', "_").replace("ud_", "ud-");
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(mix, _)| *mix).ok_or_else(|| UnknownMix(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_print() {
        for (mix, name) in GgufMix::ALL {
            assert_eq!(name.parse(), Ok(mix));
        }
        assert_eq!("Q4_K_M".parse::<GgufMix>().unwrap().to_string(), "q4_k_m");
        assert!("q9".parse::<GgufMix>().is_err());
    }

    #[test]
    fn the_m_mixes_spend_bits_on_outer_and_every_third_layer() {
        let t = |role, layer| GgufMix::Q4KM.tensor_type(role, layer, 32);
        assert_eq!(t(Role::Down, 0), GgmlType::Q6K);
        assert_eq!(t(Role::Down, 4), GgmlType::Q4K);
        assert_eq!(t(Role::Value, 6), GgmlType::Q6K);
        assert_eq!(t(Role::Other, 0), GgmlType::Q4K);
        assert_eq!(t(Role::Output, 0), GgmlType::Q6K);
    }

    #[test]
    fn narrow_matrices_fall_back_to_small_blocks() {
        assert_eq!(GgmlType::Q4K.bytes(1, 256), 144);
        assert_eq!(GgmlType::Q4K.bytes(1, 288), 9 * 22);
    }
}
