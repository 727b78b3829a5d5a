//! Arguments of `predict`.

use crate::advise::session::TurnSpec;
use crate::cli::shared::draft_args::DraftArgs;
use crate::cli::shared::machine_args::MachineArgs;
use crate::cli::shared::names;
use crate::cli::shared::numbers::whole;
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
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = |s: &str| whole::<u32>(s, 0..=16_777_216))]
    pub depths: Vec<u32>,

    /// One turn of a conversation, with a kept cache and without: prompt=8000,cached=6000,output=400[,tools=SECONDS]
    #[arg(long, value_name = "KEYS", conflicts_with_all = ["session", "context", "generate", "batch", "images", "depths", "explain", "time_layers", "draft"])]
    pub turn: Option<TurnSpec>,

    /// A whole session of turns: turns=40,system=6000,prompt=300,output=500,tool=1500[,thinking=TOKENS][,tools=SECONDS]
    /// [,max_ttft=SECONDS], or a TOML file with these keys
    #[arg(long, value_name = "KEYS|FILE", conflicts_with_all = ["context", "generate", "batch", "images", "depths", "explain", "time_layers", "draft"])]
    pub session: Option<String>,

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
