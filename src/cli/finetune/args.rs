//! Arguments of `finetune`: the options of `mlx_lm.lora`, with its defaults.

use crate::cli::shared::engine_args::EngineArgs;
use crate::cli::shared::limit_args::LimitArgs;
use crate::cli::shared::machine_args::MachineArgs;
use crate::cli::shared::names;
use crate::cli::shared::training_args::TrainingArgs;
use clap::{Args, ValueHint};
use clap_complete::engine::ArgValueCompleter;
use std::path::PathBuf;

/// Arguments of `finetune`. What is not said here is as the configuration file has it, and then as mlx_lm.lora has it.
#[derive(Debug, Args)]
pub struct FinetuneArgs {
    /// The base: catalog name (qwen3-8b-4bit), folder, config.json, hf:org/name
    #[arg(add = ArgValueCompleter::new(names::models), long, value_name = "MODEL", required_unless_present = "config")]
    pub model: Option<String>,

    /// Quantization of the base, where the name does not say
    #[arg(long, value_name = "QUANT")]
    pub quant: Option<String>,

    /// A configuration file of mlx_lm.lora; options given here go before it
    #[arg(short, long, value_name = "YAML", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// A folder with train.jsonl: its lengths, by the model's tokenizer if it is on this machine, else from its characters
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, conflicts_with_all = ["longest", "fill"])]
    pub data: Option<PathBuf>,

    /// What is trained and how.
    #[command(flatten)]
    pub training: TrainingArgs,

    /// Time the step itself on this machine, with random weights
    #[arg(long)]
    pub time_step: bool,

    /// Time it even when more memory is needed than there is
    #[arg(long, requires = "time_step")]
    pub force: bool,

    /// Memory that the run may take.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// The machine.
    #[command(flatten)]
    pub machine: MachineArgs,

    /// The engine.
    #[command(flatten)]
    pub engine: EngineArgs,
}
