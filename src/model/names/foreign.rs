//! Formats of other programs that names end in, and the `quantization_config` that such repositories hold.

use serde_json::{Value, json};

/// A format of another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// AutoAWQ, 4 bit.
    Awq,
    /// GPTQ.
    Gptq {
        /// Bits per weight.
        bits: u32,
    },
    /// Blocks of 128 × 128 weights in 8-bit floats.
    Fp8,
    /// NVIDIA ModelOpt, 4-bit floats.
    Nvfp4,
    /// bitsandbytes.
    BitsAndBytes {
        /// Bits per weight.
        bits: u32,
    },
    /// compressed-tensors, integers.
    Compressed {
        /// Bits per weight.
        bits: u32,
        /// Bits per activation.
        activations: u32,
    },
    /// Any other: its name is that of the method.
    Other(&'static str),
}

/// The first word of a name that is the format of another program, as a suffix that says so.
#[must_use]
pub fn foreign_word(name: &str) -> Option<String> {
    super::key::words(name).into_iter().find_map(|word| match word.as_str() {
        "nvfp4" => Some("fp4".to_owned()),
        "mixedint4" => Some("int4".to_owned()),
        other => Foreign::parse(&[other]).map(|_| other.to_owned()),
    })
}

impl Foreign {
    /// The format that words name, if they name nothing else.
    pub(super) fn parse(words: &[&str]) -> Option<Self> {
        let bits_after = |w: &str| w.strip_prefix("int").and_then(|d| d.parse::<u32>().ok());
        Some(match words {
            ["awq"] | ["awq", "int4" | "4bit" | "w4a16"] | ["w4a16" | "int4", "awq"] => Self::Awq,
            ["gptq"] => Self::Gptq { bits: 4 },
            ["gptq", b] | [b, "gptq"] if bits_after(b).is_some() => {
                Self::Gptq { bits: bits_after(b)? }
            }
            ["gptq", "4bit", ..] => Self::Gptq { bits: 4 },
            ["fp8"] | ["fp8", "dynamic" | "block" | "kv"] => Self::Fp8,
            ["bnb"] | ["bnb", "4bit"] | ["unsloth", "bnb", "4bit"] | ["nf4"] => {
                Self::BitsAndBytes { bits: 4 }
            }
            ["bnb", "8bit"] => Self::BitsAndBytes { bits: 8 },
            ["int4"] | ["w4a16"] | ["quantized", "w4a16"] => {
                Self::Compressed { bits: 4, activations: 16 }
            }
            ["int8"] | ["w8a16"] | ["quantized", "w8a16"] => {
                Self::Compressed { bits: 8, activations: 16 }
            }
            ["w8a8"] | ["quantized", "w8a8"] => Self::Compressed { bits: 8, activations: 8 },
            ["exl2", ..] => Self::Other("exl2"),
            ["exl3", ..] => Self::Other("exl3"),
            ["hqq", ..] => Self::Other("hqq"),
            ["autoround", ..] => Self::Other("auto-round"),
            ["fp4"] => Self::Nvfp4,
            _ => return None,
        })
    }

    /// The `quantization_config` of such repositories, as their tools write it.
    #[must_use]
    pub fn block(self) -> Value {
        match self {
            Self::Awq => json!({"quant_method": "awq", "bits": 4, "group_size": 128}),
            Self::Gptq { bits } => json!({"quant_method": "gptq", "bits": bits, "group_size": 128}),
            Self::Fp8 => json!({"quant_method": "fp8", "weight_block_size": [128, 128]}),
            Self::Nvfp4 => {
                json!({"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16})
            }
            Self::BitsAndBytes { bits } => {
                json!({"quant_method": "bitsandbytes", "load_in_4bit": bits == 4})
            }
            Self::Compressed { bits: 4, .. } => {
                json!({"quant_method": "compressed-tensors", "format": "pack-quantized"})
            }
            Self::Compressed { activations: 16, .. } => {
                json!({"quant_method": "compressed-tensors", "format": "naive-quantized"})
            }
            Self::Compressed { .. } => {
                json!({"quant_method": "compressed-tensors", "format": "int-quantized"})
            }
            Self::Other(method) => json!({"quant_method": method}),
        }
    }
}
