//! Arguments of `finetune`: the options of `mlx_lm.lora`, with its defaults.

use crate::cli::shared::engine_args::EngineArgs;
use crate::cli::shared::limit_args::LimitArgs;
use crate::cli::shared::machine_args::MachineArgs;
use crate::cli::shared::names;
use crate::cli::shared::numbers::{number, whole};
use crate::graph::training::{FineTuneType, Optimizer};
use clap::{Args, ValueEnum, ValueHint};
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

    /// What is trained [default: lora]
    #[arg(long, value_name = "TYPE", value_enum)]
    pub fine_tune_type: Option<TypeArg>,

    /// Rank of the adapters (lora_parameters.rank) [default: 8]
    #[arg(long, value_name = "N", value_parser = |s: &str| whole::<u32>(s, 1..=4096))]
    pub rank: Option<u32>,

    /// Matrices that get adapters, as paths in a block, comma separated (lora_parameters.keys) [default: all]
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    pub keys: Vec<String>,

    /// Blocks that are trained, counted from the last; 0 or -1 for all [default: 16]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = |s: &str| whole::<i64>(s, -1..=65_535))]
    pub num_layers: Option<i64>,

    /// Samples in a batch [default: 4]
    #[arg(long, value_name = "N", value_parser = |s: &str| whole::<u32>(s, 1..=512))]
    pub batch_size: Option<u32>,

    /// Longest sample in tokens; longer ones are cut [default: 2048]
    #[arg(long, value_name = "TOKENS", value_parser = |s: &str| whole::<u32>(s, 2..=131_072))]
    pub max_seq_length: Option<u32>,

    /// Tokens of the longest sample of the data [default: as long as --max-seq-length]
    #[arg(long, value_name = "TOKENS", value_parser = |s: &str| whole::<u32>(s, 1..=16_777_216))]
    pub longest: Option<u32>,

    /// Share of a batch that counts in the reported tokens: no padding, no masked prompt [default: 1]
    #[arg(long, value_name = "SHARE", value_parser = |s: &str| number(s, 1e-6, 1.0))]
    pub fill: Option<f64>,

    /// Run blocks again in the backward pass instead of remembering them
    #[arg(long)]
    pub grad_checkpoint: bool,

    /// Batches whose gradients are added up for an update [default: 1]
    #[arg(long, value_name = "N", value_parser = |s: &str| whole::<u32>(s, 1..=4096))]
    pub grad_accumulation_steps: Option<u32>,

    /// The optimizer [default: adam]
    #[arg(long, value_name = "NAME", value_enum)]
    pub optimizer: Option<OptimizerArg>,

    /// Iterations of the run [default: 1000]
    #[arg(long, value_name = "N", value_parser = |s: &str| whole::<u32>(s, 1..=1_000_000_000))]
    pub iters: Option<u32>,

    /// Leave prompts out of the loss; changes neither memory nor time
    #[arg(long)]
    pub mask_prompt: bool,

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

/// `--fine-tune-type`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TypeArg {
    /// Low-rank adapters; QLoRA where the base is quantized
    Lora,
    /// Low-rank adapters and learned magnitudes
    Dora,
    /// The tensors of the last blocks themselves
    Full,
}

/// `--optimizer`.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "lower")]
#[allow(missing_docs)]
pub enum OptimizerArg {
    Adam,
    AdamW,
    Muon,
    Sgd,
    Adafactor,
}

impl From<TypeArg> for FineTuneType {
    fn from(kind: TypeArg) -> Self {
        match kind {
            TypeArg::Lora => Self::Lora,
            TypeArg::Dora => Self::Dora,
            TypeArg::Full => Self::Full,
        }
    }
}

impl From<OptimizerArg> for Optimizer {
    fn from(optimizer: OptimizerArg) -> Self {
        match optimizer {
            OptimizerArg::Adam => Self::Adam,
            OptimizerArg::AdamW => Self::AdamW,
            OptimizerArg::Muon => Self::Muon,
            OptimizerArg::Sgd => Self::Sgd,
            OptimizerArg::Adafactor => Self::Adafactor,
        }
    }
}
