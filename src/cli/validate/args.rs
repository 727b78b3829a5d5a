//! Arguments of `validate`.

use crate::cli::shared::numbers::{number, whole};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Recorded measurements: a CSV file with the columns of data/measurements.csv, of data/beyond.csv or of
    /// data/training.csv (fine-tuning), or a result of llama-bench (-o json or
    /// jsonl), llmfit, mlx-chronos, mlx_lm.benchmark or oMLX; without it, the published ones that
    /// the coefficients were fitted on, in cross-validation
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,

    /// In cross-validation, leave out the rows of the same chip instead of those of the same owner
    #[arg(long, conflicts_with = "against")]
    pub by_chip: bool,

    /// Write a plot of predicted against measured decode speeds to an .svg or .png file
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,

    /// What is run here.
    #[command(flatten)]
    pub live: LiveArgs,
}

/// Models that are run on this machine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run on this machine")]
pub struct LiveArgs {
    /// Predict this model's speed, then run it in this process: a folder with weights, or any model with --random-weights
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,

    /// Quantization of the model
    #[arg(long, value_name = "QUANT", requires = "model")]
    pub quant: Option<String>,

    /// Run with random weights of the model's shapes: nothing is downloaded
    #[arg(long)]
    pub random_weights: bool,

    /// Climb a ladder of small models with random weights
    #[arg(long, conflicts_with = "model")]
    pub suite: bool,

    /// Climb the ladder on which the widths of the intervals were fitted, instead of the one held out
    #[arg(long, requires = "suite")]
    pub fitted_on: bool,

    /// Minutes that all runs may take; what does not fit in is left out
    #[arg(long, value_name = "N", default_value_t = 8.0, value_parser = |s: &str| number(s, 1e-3, 1440.0))]
    pub minutes: f64,

    /// Tokens in the cache when generation starts [default: 0,512,2048, for --suite those of the ladder]
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = |s: &str| whole::<u32>(s, 0..=1_048_576))]
    pub depths: Vec<u32>,

    /// Most rounds in which prediction and run take turns
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = |s: &str| whole::<u32>(s, 3..=1000))]
    pub rounds: u32,

    /// Run even when more memory is needed than there is
    #[arg(long)]
    pub force: bool,
}
