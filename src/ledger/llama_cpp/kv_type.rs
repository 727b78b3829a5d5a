//! Types in which llama.cpp keeps keys and values.

use crate::graph::cache::KvQuantization;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A type of keys or values (`-ctk`, `-ctv`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names of the types")]
pub enum KvType {
    F32,
    #[default]
    F16,
    Bf16,
    Q8_0,
    Q5_1,
    Q5_0,
    Q4_1,
    Q4_0,
}

/// A name that is no type of keys and values.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is no type of a cache; known: f16, q8_0, q4_0 (also f32, bf16, q5_1, q5_0, q4_1)")]
pub struct UnknownKvType(pub String);

/// A type of llama.cpp's cache that no quantization of a run stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("'{0}': choose f16, q8_0, q5_0 or q4_0")]
pub struct KvTypeNotPlanned(pub KvType);

impl KvType {
    /// The cache of a run: `None` for 16 bits.
    ///
    /// # Errors
    /// When no cache of as many bits can be planned for.
    pub const fn quantization(self) -> Result<Option<KvQuantization>, KvTypeNotPlanned> {
        match self {
            Self::F16 | Self::Bf16 => Ok(None),
            Self::Q8_0 => Ok(Some(KvQuantization::bits(8))),
            Self::Q5_0 => Ok(Some(KvQuantization::bits(5))),
            Self::Q4_0 => Ok(Some(KvQuantization::bits(4))),
            Self::F32 | Self::Q5_1 | Self::Q4_1 => Err(KvTypeNotPlanned(self)),
        }
    }

    /// All types.
    pub const ALL: [Self; 8] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q5_1,
        Self::Q5_0,
        Self::Q4_1,
        Self::Q4_0,
    ];

    /// Bytes of 32 elements (`ggml/src/ggml-common.h`).
    const fn block(self) -> u64 {
        match self {
            Self::F32 => 128,
            Self::F16 | Self::Bf16 => 64,
            Self::Q8_0 => 34,
            Self::Q5_1 => 24,
            Self::Q5_0 => 22,
            Self::Q4_1 => 20,
            Self::Q4_0 => 18,
        }
    }

    /// Bytes of so many elements.
    #[must_use]
    pub const fn bytes(self, elements: u64) -> u64 {
        elements.div_ceil(32) * self.block()
    }

    /// Whether it is in blocks; values of such types need flash attention.
    #[must_use]
    pub const fn is_quantized(self) -> bool {
        !matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }

    /// The type that stands for a cache of so many bits, where there is one.
    #[must_use]
    pub const fn of_bits(bits: u32) -> Option<Self> {
        match bits {
            8 => Some(Self::Q8_0),
            5 => Some(Self::Q5_0),
            4 => Some(Self::Q4_0),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q5_1 => "q5_1",
            Self::Q5_0 => "q5_0",
            Self::Q4_1 => "q4_1",
            Self::Q4_0 => "q4_0",
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KvType {
    type Err = UnknownKvType;

    fn from_str(text: &str) -> Result<Self, UnknownKvType> {
        let found = Self::ALL.into_iter().find(|t| t.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownKvType(text.to_owned()))
    }
}
