//! What is trained and how, as `mlx_lm.lora` is told: its options, what its configuration file says, and its defaults
//! together.

use crate::cli::shared::numbers::{number, whole};
use crate::engine::lora::config::LoraConfig;
use crate::graph::training::{FineTuneType, FineTuning, Optimizer, padded_tokens};
use clap::{Args, ValueEnum};

/// What is trained and how; what is not said is as the configuration file has it, and then as mlx_lm.lora has it.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Fine-tuning")]
pub struct TrainingArgs {
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
}

/// `--fine-tune-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TypeArg {
    /// Low-rank adapters; QLoRA where the base is quantized
    Lora,
    /// Low-rank adapters and learned magnitudes
    Dora,
    /// The tensors of the last blocks themselves
    Full,
}

/// `--optimizer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
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

impl TrainingArgs {
    /// Whether anything is said.
    pub(in crate::cli) fn is_given(&self) -> bool {
        *self != Self::default()
    }
}

/// What decides memory and time, of flags, file and defaults together.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct LoraSettings {
    /// The step; its tokens are those of the longest sample that is allowed.
    pub options: FineTuning,
    /// Longest sample in tokens; longer ones are cut.
    pub max_seq_length: u32,
    /// Iterations.
    pub iters: u32,
    /// Whether prompts are left out of the loss.
    pub mask_prompt: bool,
}

/// Defaults of `mlx_lm.lora` that [`FineTuning`] does not have.
const MAX_SEQ_LENGTH: u32 = 2048;
const ITERS: u32 = 1000;

impl LoraSettings {
    /// Flags over the file over defaults; without flags what the file alone says.
    pub fn of(args: Option<&TrainingArgs>, file: &LoraConfig) -> Self {
        let plain = FineTuning::default();
        let adapters = file.lora_parameters.as_ref();
        let flag = |of: &dyn Fn(&TrainingArgs) -> Option<u32>| args.and_then(of);
        let max_seq_length =
            flag(&|a| a.max_seq_length).or(file.max_seq_length).unwrap_or(MAX_SEQ_LENGTH);
        let longest = flag(&|a| a.longest).unwrap_or(max_seq_length);
        let layers = args.and_then(|a| a.num_layers).or(file.num_layers);
        let layers = layers.map_or(plain.layers, |n| u32::try_from(n).ok().filter(|&n| n > 0));
        let keys = args.map(|a| &a.keys).filter(|keys| !keys.is_empty()).cloned();
        let kind = args.and_then(|a| a.fine_tune_type).map(Into::into);
        let optimizer = args.and_then(|a| a.optimizer).map(Into::into);
        let options = FineTuning {
            kind: kind.or(file.fine_tune_type).unwrap_or_default(),
            optimizer: optimizer.or(file.optimizer).unwrap_or_default(),
            layers,
            rank: flag(&|a| a.rank).or(adapters.map(|a| a.rank)).unwrap_or(plain.rank),
            keys: keys.or_else(|| adapters.and_then(|a| a.keys.clone())),
            checkpoint: args.is_some_and(|a| a.grad_checkpoint)
                || file.grad_checkpoint == Some(true),
            accumulation: flag(&|a| a.grad_accumulation_steps)
                .or(file.grad_accumulation_steps)
                .unwrap_or(plain.accumulation),
            batch: flag(&|a| a.batch_size).or(file.batch_size).unwrap_or(plain.batch),
            tokens: padded_tokens(longest, max_seq_length),
            ..plain
        };
        Self {
            options,
            max_seq_length,
            iters: flag(&|a| a.iters).or(file.iters).unwrap_or(ITERS),
            mask_prompt: args.is_some_and(|a| a.mask_prompt) || file.mask_prompt == Some(true),
        }
    }
}
