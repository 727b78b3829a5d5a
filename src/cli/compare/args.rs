//! Arguments of `compare`.

use super::cluster::spec::LinkArg;
use crate::advise::cluster::ClusterSpec;
use crate::advise::finetune::TrainingChoice;
use crate::cli::shared::names;
use crate::cli::shared::numbers::{number, whole};
use crate::cli::shared::run_args::RunArgs;
use crate::cli::shared::training_args::TrainingArgs;
use crate::run::EngineName;
use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Models: catalog names (qwen3-32b-4bit), folders, .gguf files, hf:org/name; of a size class (32B-4bit) the most
    /// popular model
    #[arg(add = ArgValueCompleter::new(names::models), long, value_name = "MODEL", num_args = 1.., required = true)]
    pub model: Vec<String>,

    /// Macs to compare: m4max-40/128, "M4 Max 40-core 128GB", product ids, "this"
    #[arg(add = ArgValueCompleter::new(names::macs), long, value_name = "MAC", num_args = 1.., required_unless_present_any = ["buy", "cluster", "macs"], conflicts_with = "buy")]
    pub mac: Vec<String>,

    /// So many Macs that run one model together: 2xm3ultra-80/512; compared with one of them, and with 2, 4 and so on
    #[arg(add = ArgValueCompleter::new(names::macs), long, value_name = "NxMAC", conflicts_with_all = ["buy", "mac", "engines", "from"])]
    pub cluster: Option<ClusterSpec>,

    /// Unlike Macs that run one model together, comma separated, rank 0 first: m4max-40/128,m5max-40/128
    #[arg(
        add = ArgValueCompleter::new(names::macs),
        long,
        value_name = "MACS",
        value_delimiter = ',',
        conflicts_with_all = ["buy", "mac", "engines", "from", "cluster"]
    )]
    pub macs: Vec<String>,

    /// What joins them: jaccl (RDMA over Thunderbolt 5), ring (TCP over any cable), fast (jaccl with
    /// MLX_METAL_FAST_SYNCH=1, which MLX calls unreliable) [default: jaccl where all have Thunderbolt 5, else ring]
    #[arg(long, value_enum, value_name = "LINK")]
    pub link: Option<LinkArg>,

    /// Rank every configuration that can be bought instead
    #[arg(long)]
    pub buy: bool,

    /// The same model on the same Mac through several engines, comma separated: mlx-lm,lm-studio,omlx,ollama-mlx
    #[arg(
        add = ArgValueCompleter::new(names::engines),
        long,
        value_name = "ENGINES",
        value_delimiter = ',',
        conflicts_with_all = ["buy", "from", "engine"]
    )]
    pub engines: Vec<EngineName>,

    /// One choice varied for one model on one Mac, answered in words and a table
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with_all = ["buy", "from", "engines"])]
    pub vary: Option<Vary>,

    /// Quantization, where the names do not say
    #[arg(long, value_name = "QUANT")]
    pub quant: Option<String>,

    /// The Mac you have: what changes and how many times faster the others are
    #[arg(add = ArgValueCompleter::new(names::macs), long, value_name = "MAC")]
    pub from: Option<String>,

    /// What the Mac must do.
    #[command(flatten)]
    pub needs: NeedsArgs,

    /// What money is reckoned with.
    #[command(flatten)]
    pub money: MoneyArgs,

    /// The run.
    #[command(flatten)]
    pub run: RunArgs,

    /// The fine-tuning run, of which --vary checkpoint, layers or batch varies one choice.
    #[command(flatten)]
    pub training: TrainingArgs,
}

/// A choice that is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Vary {
    /// Bits of the cache of keys and values
    Kv,
    /// Format of the weights
    Quant,
    /// Tokens of a prefill chunk
    Chunk,
    /// The program
    Engine,
    /// The model that drafts
    Draft,
    /// Fine-tuning: whether blocks are run again in the backward pass
    Checkpoint,
    /// Fine-tuning: how many blocks are trained
    Layers,
    /// Fine-tuning: samples in a batch
    Batch,
}

impl Vary {
    /// The choice of a fine-tuning run that it is, if it is one.
    pub(super) const fn of_training(self) -> Option<TrainingChoice> {
        match self {
            Self::Checkpoint => Some(TrainingChoice::Checkpoint),
            Self::Layers => Some(TrainingChoice::Layers),
            Self::Batch => Some(TrainingChoice::Batch),
            Self::Kv | Self::Quant | Self::Chunk | Self::Engine | Self::Draft => None,
        }
    }
}

/// What a Mac that is bought must do.
#[derive(Debug, Args)]
#[command(next_help_heading = "Needs")]
pub struct NeedsArgs {
    /// Highest price in USD
    #[arg(long, value_name = "USD", requires = "buy", value_parser = |s: &str| whole::<u32>(s, 1..=100_000_000))]
    pub budget: Option<u32>,

    /// Tokens per second at least, for each user
    #[arg(long, value_name = "TOK/S", requires = "buy", value_parser = |s: &str| number(s, 1e-3, 1e6))]
    pub min_tok_s: Option<f64>,

    /// Seconds to the first token at most
    #[arg(long, value_name = "SECONDS", requires = "buy", value_parser = |s: &str| number(s, 1e-3, 1e6))]
    pub max_ttft: Option<f64>,

    /// Users at once, all with a prompt of --context tokens (the same as --batch)
    #[arg(long, value_name = "N", conflicts_with = "batch", value_parser = |s: &str| whole::<u32>(s, 1..=512))]
    pub users: Option<u32>,

    /// Which Macs: those that Apple sells, or any in the catalog
    #[arg(long, value_enum, value_name = "WHICH", requires = "buy", default_value_t = Stock::New)]
    pub stock: Stock,

    /// Choices listed at most in the table; JSON has all
    #[arg(long, value_name = "N", requires = "buy", default_value_t = 20, value_parser = |s: &str| whole::<u32>(s, 1..=500))]
    pub limit: u32,
}

/// Which Macs are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stock {
    /// Sold by Apple
    New,
    /// Also discontinued ones, whose prices are mostly not known
    Any,
}

/// What money is reckoned with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Money")]
pub struct MoneyArgs {
    /// Years over which the price is spread
    #[arg(long, value_name = "YEARS", default_value_t = 3.0, value_parser = |s: &str| number(s, 0.01, 100.0))]
    pub years: f64,

    /// Price of electricity; counted for chips whose GPU power was measured
    #[arg(long, value_name = "USD", value_parser = |s: &str| number(s, 1e-3, 100.0))]
    pub usd_per_kwh: Option<f64>,

    /// Tokens generated a day, of all users together; without it, day and night at full speed
    #[arg(long, value_name = "TOKENS", value_parser = |s: &str| number(s, 1.0, 1e12))]
    pub tokens_per_day: Option<f64>,

    /// Price in USD of a million generated tokens elsewhere: the break-even is against it
    #[arg(long, value_name = "USD", value_parser = |s: &str| number(s, 1e-6, 1e6))]
    pub api_usd_per_mtok: Option<f64>,
}
