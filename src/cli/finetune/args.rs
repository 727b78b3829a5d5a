//! Arguments of `finetune`: the options of `mlx_lm.lora`, with its defaults.

use crate::cli::shared::engine_args::EngineArgs;
use crate::cli::shared::limit_args::LimitArgs;
use crate::cli::shared::machine_args::MachineArgs;
use crate::cli::shared::names;
use crate::graph::training::{FineTuneType, FineTuning, Optimizer, padded_tokens};
use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

/// Arguments of `finetune`.
#[derive(Debug, Args)]
pub struct FinetuneArgs {
    /// The base: catalog name (qwen3-8b-4bit), folder, config.json, hf:org/name
    #[arg(add = ArgValueCompleter::new(names::models), long, value_name = "MODEL", required = true)]
    pub model: String,

    /// Quantization of the base, where the name does not say
    #[arg(long, value_name = "QUANT")]
    pub quant: Option<String>,

    /// What is trained
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = TypeArg::Lora)]
    pub fine_tune_type: TypeArg,

    /// Rank of the adapters (lora_parameters.rank)
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub rank: u32,

    /// Matrices that get adapters, as paths in a block, comma separated (lora_parameters.keys) [default: all]
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    pub keys: Vec<String>,

    /// Blocks that are trained, counted from the last; 0 or -1 for all
    #[arg(long, value_name = "N", default_value_t = 16, allow_negative_numbers = true)]
    pub num_layers: i64,

    /// Samples in a batch
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub batch_size: u32,

    /// Longest sample in tokens; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(2..=131_072))]
    pub max_seq_length: u32,

    /// Tokens of the longest sample of the data [default: as long as --max-seq-length]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub longest: Option<u32>,

    /// Share of a batch that counts in the reported tokens: no padding, no masked prompt
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    pub fill: f64,

    /// Run blocks again in the backward pass instead of remembering them
    #[arg(long)]
    pub grad_checkpoint: bool,

    /// Batches whose gradients are added up for an update
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub grad_accumulation_steps: u32,

    /// The optimizer
    #[arg(long, value_name = "NAME", value_enum, default_value_t = OptimizerArg::Adam)]
    pub optimizer: OptimizerArg,

    /// Iterations of the run
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub iters: u32,

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

impl FinetuneArgs {
    /// The run that they describe.
    pub(super) fn options(&self) -> FineTuning {
        FineTuning {
            kind: match self.fine_tune_type {
                TypeArg::Lora => FineTuneType::Lora,
                TypeArg::Dora => FineTuneType::Dora,
                TypeArg::Full => FineTuneType::Full,
            },
            optimizer: match self.optimizer {
                OptimizerArg::Adam => Optimizer::Adam,
                OptimizerArg::AdamW => Optimizer::AdamW,
                OptimizerArg::Muon => Optimizer::Muon,
                OptimizerArg::Sgd => Optimizer::Sgd,
                OptimizerArg::Adafactor => Optimizer::Adafactor,
            },
            layers: u32::try_from(self.num_layers).ok().filter(|&n| n > 0),
            rank: self.rank,
            keys: (!self.keys.is_empty()).then(|| self.keys.clone()),
            checkpoint: self.grad_checkpoint,
            accumulation: self.grad_accumulation_steps,
            batch: self.batch_size,
            tokens: padded_tokens(self.longest.unwrap_or(self.max_seq_length), self.max_seq_length),
            ..FineTuning::default()
        }
    }
}
