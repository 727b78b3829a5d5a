//! Arguments of `bench`.

use crate::bench::prompts::PromptKind;
use crate::bench::scenario::Scenario;
use crate::cli::shared::names::{macs, models};
use crate::cli::shared::numbers::{number, whole};
use clap::{Args, ValueEnum, ValueHint};
use clap_complete::engine::ArgValueCompleter;
use std::path::PathBuf;

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What is measured
    #[arg(long, value_enum, value_name = "SCENARIO", default_value_t = ScenarioArg::Decode)]
    pub scenario: ScenarioArg,

    /// The server: http://localhost:1234 (OpenAI-compatible, or Ollama's own API)
    #[arg(long, value_name = "URL", conflicts_with = "compare")]
    pub server: Option<String>,

    /// Another way to run --model: mlx in this process (a folder, or any model with --random-weights), mlx-lm by
    /// mlx_lm.benchmark
    #[arg(long, value_enum, value_name = "ENGINE", conflicts_with_all = ["server", "compare"], requires = "model")]
    pub engine: Option<EngineArg>,

    /// Two engines, measured in turn: URL, MODEL@URL, or mlx:MODEL for MLX in this process
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    pub compare: Vec<String>,

    /// The model as the server calls it; case and / _ : . - do not matter. Not needed when the server has one model
    #[arg(add = ArgValueCompleter::new(models), long, value_name = "MODEL", conflicts_with = "compare")]
    pub model: Option<String>,

    /// With --engine mlx: random weights of the model's shapes instead of its files
    #[arg(long, requires = "engine")]
    pub random_weights: bool,

    /// The connection to servers.
    #[command(flatten)]
    pub connection: ConnectionArgs,

    /// The protocol.
    #[command(flatten)]
    pub protocol: ProtocolArgs,

    /// Loads of the scenarios.
    #[command(flatten)]
    pub load: LoadArgs,

    /// The Mac that the engine runs on, for predictions next to the figures (default: this one)
    #[arg(add = ArgValueCompleter::new(macs), long, value_name = "MAC")]
    pub mac: Option<String>,

    /// The model that predictions are for, where the server's name for it does not tell: qwen3-8b-4bit
    #[arg(add = ArgValueCompleter::new(models), long = "as", value_name = "MODEL")]
    pub model_as: Option<String>,

    /// The model's folder, or its tokenizer.json, for servers that give no token counts (default: where the model is
    /// found on this machine)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub tokenizer: Option<PathBuf>,

    /// Draw the run as pictures into a folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub plots: Option<PathBuf>,

    /// Format of the pictures
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = PlotFormat::Svg, requires = "plots")]
    pub plot_format: PlotFormat,

    /// Add the run, with all raw trials and its context, to a folder of results
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,

    /// Write the run to a file to share, without addresses, paths, messages and remarks; --evidence, audit and why read it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub export: Option<PathBuf>,
}

/// The connection to servers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Also measure servers on other machines; prompts and answers then leave this one
    #[arg(long)]
    pub allow_remote: bool,

    /// Environment variable with the API key
    #[arg(long, value_name = "NAME", default_value = "MLXPLAN_API_KEY")]
    pub key_env: String,

    /// Longest time of a request, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = |s: &str| whole::<u64>(s, 1..=86_400))]
    pub timeout: u64,

    /// Longest time without a byte, the time to the first token included, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = |s: &str| whole::<u64>(s, 1..=86_400))]
    pub stall_timeout: u64,
}

/// The protocol.
#[derive(Debug, Args)]
#[command(next_help_heading = "Protocol")]
pub struct ProtocolArgs {
    /// Timed trials of each case
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = |s: &str| whole::<u32>(s, 1..=10_000))]
    pub trials: u32,

    /// Trials before them, which do not count
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = |s: &str| whole::<u32>(s, 0..=100))]
    pub warm_up: u32,

    /// Pause before each trial, in seconds (default: 1, and none between the turns of a soak)
    #[arg(long, value_name = "SECONDS", value_parser = |s: &str| number(s, 0.0, 3600.0))]
    pub cool_down: Option<f64>,

    /// Tokens generated at most
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = |s: &str| whole::<u32>(s, 2..=1_048_576))]
    pub generate: u32,

    /// Sampling temperature
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = |s: &str| number(s, 0.0, 2.0))]
    pub temperature: f64,

    /// Ask for whole answers; there is no time to first token then, and the rate is end to end
    #[arg(long)]
    pub no_stream: bool,

    /// Kinds of prompts, comma separated: question, explain, summarize, code, reason, story, translate, extract, plan,
    /// or all
    #[arg(long, value_name = "KINDS", value_delimiter = ',', default_values_t = ["explain".to_owned(), "code".to_owned(), "story".to_owned()])]
    pub prompts: Vec<String>,

    /// A file with a prompt of your own; may be given several times and replaces the kinds
    #[arg(long, value_name = "FILE")]
    pub prompt_file: Vec<PathBuf>,

    /// Context lengths of depth and resume, and prompt lengths of mlx and mlx-lm, comma separated (default: 512 and doublings
    /// up to the server's context)
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = |s: &str| whole::<u32>(s, 16..=4_194_304))]
    pub depths: Vec<u32>,
}

/// Loads of the scenarios.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scenarios")]
pub struct LoadArgs {
    /// cold: the command that starts the server; it is started and ended for every trial
    #[arg(long, value_name = "COMMAND")]
    pub launch: Option<String>,

    /// concurrency: users at once, comma separated
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1u32, 2, 4, 8], value_parser = |s: &str| whole::<u32>(s, 1..=1024))]
    pub users: Vec<u32>,

    /// concurrency: requests of each user
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = |s: &str| whole::<u32>(s, 1..=10_000))]
    pub requests: u32,

    /// concurrency: longest time to first token that counts as good, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = |s: &str| number(s, 1e-3, 1e6))]
    pub max_ttft: f64,

    /// concurrency: lowest decode rate of a user that counts as good, in tokens per second
    #[arg(long, value_name = "TOK/S", default_value_t = 10.0, value_parser = |s: &str| number(s, 1e-3, 1e6))]
    pub min_rate: f64,

    /// soak: turns
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = |s: &str| whole::<u32>(s, 1..=1_000_000))]
    pub turns: u32,

    /// soak: minutes instead of turns
    #[arg(long, value_name = "N", conflicts_with = "turns", value_parser = |s: &str| number(s, 1e-3, 1e4))]
    pub minutes: Option<f64>,

    /// mlx and mlx-lm: sequences at once, comma separated
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1u32], value_parser = |s: &str| whole::<u32>(s, 1..=512))]
    pub batches: Vec<u32>,

    /// mlx-lm: the program
    #[arg(long, value_name = "COMMAND", default_value = "mlx_lm.benchmark")]
    pub mlx_lm: String,
}

/// Formats of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlotFormat {
    /// Lines and texts
    Svg,
    /// Pixels
    Png,
}

/// Engines without a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// MLX in this process
    Mlx,
    /// mlx_lm.benchmark as a subprocess
    MlxLm,
}

/// Scenarios on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScenarioArg {
    /// Decode rate and time to first token over kinds of prompts
    Decode,
    /// The same at growing context
    Depth,
    /// The first answer after a start, the load time apart
    Cold,
    /// Continuing a conversation: what the kept prompt cache saves
    Resume,
    /// Several users at once: total and per-user rates, tail of the time to first token, goodput
    Concurrency,
    /// Many turns: does memory grow, does the speed decline
    Soak,
}

impl From<ScenarioArg> for Scenario {
    fn from(arg: ScenarioArg) -> Self {
        match arg {
            ScenarioArg::Decode => Self::Decode,
            ScenarioArg::Depth => Self::Depth,
            ScenarioArg::Cold => Self::Cold,
            ScenarioArg::Resume => Self::Resume,
            ScenarioArg::Concurrency => Self::Concurrency,
            ScenarioArg::Soak => Self::Soak,
        }
    }
}

impl ProtocolArgs {
    /// The kinds of prompts that were asked for.
    pub(super) fn kinds(&self) -> Result<Vec<PromptKind>, String> {
        if self.prompts.iter().any(|p| p == "all") {
            return Ok(PromptKind::ALL.to_vec());
        }
        self.prompts.iter().map(|p| p.trim().parse()).collect()
    }
}
