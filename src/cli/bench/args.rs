//! Arguments of `bench`.

use crate::bench::prompts::Kind;
use crate::bench::scenario::Scenario;
use clap::{Args, ValueEnum};
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

    /// Two engines, measured in turn: [MODEL@]URL each
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    pub compare: Vec<String>,

    /// The model as the server calls it; case and / _ : . - do not matter. Not needed when the server has one model
    #[arg(long, value_name = "MODEL", conflicts_with = "compare")]
    pub model: Option<String>,

    /// The connection to servers.
    #[command(flatten)]
    pub connection: ConnectionArgs,

    /// The protocol.
    #[command(flatten)]
    pub protocol: ProtocolArgs,

    /// Add the run, with all raw trials and its context, to a folder of results
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
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
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,

    /// Longest time without a byte, the time to the first token included, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub stall_timeout: u64,
}

/// The protocol.
#[derive(Debug, Args)]
#[command(next_help_heading = "Protocol")]
pub struct ProtocolArgs {
    /// Timed trials of each case
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub trials: u32,

    /// Trials before them, which do not count
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub warm_up: u32,

    /// Pause before each trial, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub cool_down: f64,

    /// Tokens generated at most
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(2..=1_048_576))]
    pub generate: u32,

    /// Sampling temperature
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f64,

    /// Ask for whole answers; there is no time to first token then, and the rate is end to end
    #[arg(long)]
    pub no_stream: bool,

    /// Kinds of prompts, comma separated: question, explain, summarise, code, reason, story, translate, extract, plan,
    /// or all
    #[arg(long, value_name = "KINDS", value_delimiter = ',', default_values_t = ["explain".to_owned(), "code".to_owned(), "story".to_owned()])]
    pub prompts: Vec<String>,

    /// A file with a prompt of your own; may be given several times and replaces the kinds
    #[arg(long, value_name = "FILE")]
    pub prompt_file: Vec<PathBuf>,

    /// Context lengths of the depth sweep, comma separated (default: 512 and doublings up to the server's context)
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(64..=4_194_304))]
    pub depths: Vec<u32>,
}

/// Scenarios on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScenarioArg {
    /// Decode rate and time to first token over kinds of prompts
    Decode,
    /// The same at growing context
    Depth,
}

impl From<ScenarioArg> for Scenario {
    fn from(arg: ScenarioArg) -> Self {
        match arg {
            ScenarioArg::Decode => Self::Decode,
            ScenarioArg::Depth => Self::Depth,
        }
    }
}

impl ProtocolArgs {
    /// The kinds of prompts that were asked for.
    pub(super) fn kinds(&self) -> Result<Vec<Kind>, String> {
        if self.prompts.iter().any(|p| p == "all") {
            return Ok(Kind::ALL.to_vec());
        }
        self.prompts.iter().map(|p| p.trim().parse()).collect()
    }
}
