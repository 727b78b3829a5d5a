//! Arguments of `predict`.

use crate::cli::shared::draft_args::DraftArgs;
use crate::cli::shared::machine_args::MachineArgs;
use crate::cli::shared::names;
use crate::cli::shared::run_args::RunArgs;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

/// Arguments of `predict`.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// A model: catalog name (qwen3-32b-4bit), folder, config.json, .gguf file, hf:org/name
    #[arg(add = ArgValueCompleter::new(names::models), long, value_name = "MODEL", required = true)]
    pub model: String,

    /// Quantization, where the name does not say
    #[arg(long, value_name = "QUANT")]
    pub quant: Option<String>,

    /// Also the speed at these cache lengths, comma separated
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(0..=16_777_216))]
    pub depths: Vec<u32>,

    /// Print every term and byte with its rule and source
    #[arg(long)]
    pub explain: bool,

    /// Time this model's own layers here first, with random weights
    #[arg(long, conflicts_with = "evidence")]
    pub time_layers: bool,

    /// With --time-layers, time them even when they need more memory than there is
    #[arg(long, requires = "time_layers")]
    pub force: bool,

    /// Read an unknown model_type as if it were this one
    #[arg(long, value_name = "MODEL_TYPE")]
    pub assume: Option<String>,

    /// Drafts.
    #[command(flatten)]
    pub drafts: DraftArgs,

    /// The machine.
    #[command(flatten)]
    pub machine: MachineArgs,

    /// The run.
    #[command(flatten)]
    pub run: RunArgs,
}
