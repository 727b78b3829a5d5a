//! Arguments of `recommend`.

use crate::cli::shared::machine_args::MachineArgs;
use crate::cli::shared::names;
use crate::cli::shared::run_args::RunArgs;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

/// Models that `recommend` lists, unless told otherwise.
const MODELS: u32 = 8;

/// Arguments of `recommend`.
#[derive(Debug, Args)]
pub struct RecommendArgs {
    /// A model or a size class: qwen3-32b-4bit, 32B-4bit, 30B-A3B, a folder, a .gguf file, hf:org/name; without it,
    /// the best choices for this Mac by size
    #[arg(add = ArgValueCompleter::new(names::models), long, value_name = "MODEL")]
    pub model: Option<String>,

    /// Quantisation: bf16, fp16, 2bit … 8bit (with -g32, -g64, -g128), mxfp4, nvfp4, mxfp8, mixed_3_6 …, mxfp4_q8
    #[arg(long, value_name = "QUANT")]
    pub quant: Option<String>,

    /// Models listed at most
    #[arg(long, value_name = "N", default_value_t = MODELS, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub limit: u32,

    /// The machine.
    #[command(flatten)]
    pub machine: MachineArgs,

    /// The run.
    #[command(flatten)]
    pub run: RunArgs,
}

impl Default for RecommendArgs {
    fn default() -> Self {
        Self {
            model: None,
            quant: None,
            limit: MODELS,
            machine: MachineArgs::default(),
            run: RunArgs::default(),
        }
    }
}
