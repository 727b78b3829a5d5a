//! Arguments of `why`.

use crate::cli::shared::machine_args::MachineArgs;
use crate::cli::shared::names;
use crate::cli::shared::numbers::{number, whole};
use crate::cli::shared::run_args::StatedRun;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use std::path::PathBuf;

/// Arguments of `why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// A model: catalog name (qwen3-32b-4bit), folder, config.json, .gguf file, hf:org/name; with --server or --bench
    /// the model that was served, unless it is named
    #[arg(add = ArgValueCompleter::new(names::models), long, value_name = "MODEL", required_unless_present_any = ["server", "bench"])]
    pub model: Option<String>,

    /// Quantization, where the name does not say
    #[arg(long, value_name = "QUANT")]
    pub quant: Option<String>,

    /// Measured tokens per second
    #[arg(long, value_name = "TOK/S", value_parser = |s: &str| number(s, 1e-3, 1e6), required_unless_present_any = ["ttft", "server", "bench"])]
    pub measured: Option<f64>,

    /// Measured seconds to the first token
    #[arg(long, value_name = "SECONDS", value_parser = |s: &str| number(s, 1e-4, 1e6))]
    pub ttft: Option<f64>,

    /// Tokens of the prompt that should have been in a prompt cache
    #[arg(long, value_name = "TOKENS", default_value_t = 0, value_parser = |s: &str| whole::<u32>(s, 0..=16_777_216))]
    pub cached: u32,

    /// Measure a running server now
    #[arg(long, value_name = "URL", conflicts_with_all = ["bench", "measured", "ttft"])]
    pub server: Option<String>,

    /// A result of `mlxplan bench`, or of llama-bench, llmfit, mlx-chronos, mlx_lm.benchmark or oMLX
    #[arg(long, value_name = "RESULT", conflicts_with_all = ["measured", "ttft"])]
    pub bench: Option<PathBuf>,

    /// Read an unknown model_type as if it were this one
    #[arg(long, value_name = "MODEL_TYPE")]
    pub assume: Option<String>,

    /// The machine.
    #[command(flatten)]
    pub machine: MachineArgs,

    /// The run.
    #[command(flatten)]
    pub run: StatedRun,
}
