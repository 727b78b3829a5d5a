//! Arguments of `report`.

use crate::cli::shared::names;
use crate::cli::shared::numbers::{number, whole};
use crate::cli::shared::run_args::RunArgs;
use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use std::path::PathBuf;

/// Arguments of `report`.
#[derive(Debug, Default, Args)]
pub struct ReportArgs {
    /// Models: catalog names (qwen3-32b-4bit), folders, .gguf files, hf:org/name; with --session or --users the first
    #[arg(add = ArgValueCompleter::new(names::models), long, value_name = "MODEL", num_args = 1..)]
    pub model: Vec<String>,

    /// The page of a plan instead: what `check` says of it
    #[arg(long, value_name = "PLAN.toml", conflicts_with_all = ["bench", "session", "users", "model", "mac", "quant", "plot"])]
    pub plan: Option<PathBuf>,

    /// The page of a result of `bench` instead
    #[arg(long, value_name = "RESULT.json", conflicts_with_all = ["session", "users", "model", "mac", "quant", "plot"])]
    pub bench: Option<PathBuf>,

    /// The page of a session instead: what `predict --session` says of it
    #[arg(long, value_name = "KEYS|FILE", requires = "model", conflicts_with_all = ["users", "plot", "context", "generate", "batch", "images"])]
    pub session: Option<String>,

    /// The page of several users at once instead: what `recommend --users` says of them
    #[arg(long, value_name = "N", requires = "model", conflicts_with_all = ["plot", "batch", "evidence"], value_parser = |s: &str| whole::<u32>(s, 1..=512))]
    pub users: Option<u32>,

    /// With --users, requests per second of all users together
    #[arg(long, value_name = "PER_SECOND", requires = "users", value_parser = |s: &str| number(s, 1e-6, 1e4))]
    pub rate: Option<f64>,

    /// Macs: m4max-40/128, "M4 Max 40-core 128GB", product ids; without it, this machine
    #[arg(add = ArgValueCompleter::new(names::macs), long, value_name = "MAC", num_args = 1..)]
    pub mac: Vec<String>,

    /// Quantization, where the names do not say
    #[arg(long, value_name = "QUANT")]
    pub quant: Option<String>,

    /// One plot instead of the page, as SVG or, with --output x.png, as PNG
    #[arg(long, value_enum, value_name = "KIND")]
    pub plot: Option<Plot>,

    /// The run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The plots of `report`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plot {
    /// Operations per second against operations per byte
    Roofline,
    /// Decode tokens per second against context, with bands
    Context,
    /// The parts of memory against context, with the limits
    Memory,
    /// Speed-up with drafts against acceptance, of the smaller models that share the tokenizer
    Drafts,
    /// Decode speed of one, two and four of the first Mac that run the model together, as bars
    Cluster,
    /// Price against speed, with the Pareto front
    Price,
    /// Peak of fine-tuning (mlx_lm.lora) against the length of samples, for batches with and without checkpointing
    Finetune,
    /// Predicted against measured decode speed
    Measured,
}
