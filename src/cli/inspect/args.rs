//! Arguments of `inspect`.

use crate::cli::shared::names;
use crate::cli::shared::numbers::{kv_bits, whole};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A model: catalog name, folder, config.json, .gguf file, hf:org/name
    #[arg(add = ArgValueCompleter::new(names::models), value_name = "MODEL")]
    pub model: String,

    /// Quantization, where the name or the files do not say
    #[arg(long, value_name = "QUANT")]
    pub quant: Option<String>,

    /// The program that loads it, which decides whether towers are loaded
    #[arg(long, value_name = "ENGINE", default_value = "mlx-lm")]
    pub engine: String,

    /// Cache sizes after these numbers of tokens, comma separated
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_values_t = [1u32, 512, 4096, 8192], value_parser = |s: &str| whole::<u32>(s, 1..=16_777_216))]
    pub tokens: Vec<u32>,

    /// Bits of a quantized KV cache
    #[arg(long, value_name = "BITS", value_parser = kv_bits)]
    pub kv_bits: Option<u32>,

    /// List every tensor
    #[arg(long)]
    pub tensors: bool,

    /// List every operation of one decode step
    #[arg(long)]
    pub ops: bool,

    /// Read an unknown model_type as if it were this one
    #[arg(long, value_name = "MODEL_TYPE")]
    pub assume: Option<String>,
}
