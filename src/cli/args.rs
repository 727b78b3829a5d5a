//! What the user typed: names, flags and help of every command.

pub use super::bench::args::BenchArgs;
use crate::data_dir;
use crate::report::Format;
use crate::units::Bytes;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use std::path::PathBuf;

/// Capacity planner for language models on Apple Silicon: predicts tokens/s, time to first token, memory and maximum
/// context of any model on any Mac, with error bars.
#[derive(Debug, Parser)]
#[command(name = "mlxplan", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do; without it, mlxplan describes this machine and what it can run.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// How the answer is written: table, json, csv or markdown; of check also junit
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table",
        hide_default_value = true
    )]
    pub format: Format,

    /// Short for --format json
    #[arg(long, global = true, conflicts_with = "format")]
    pub json: bool,

    /// Write the answer to a file instead of standard output
    #[arg(short, long, global = true, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// When to use colour
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto, hide_default_value = true)]
    pub color: Color,

    /// No hints on standard error
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// More detail: where figures come from
    #[arg(short, long, global = true)]
    pub verbose: bool,

    /// Never use the network
    #[arg(long, global = true)]
    pub offline: bool,

    /// A stored calibration to use instead of the newest of this machine
    #[arg(long, global = true, value_name = "FILE")]
    pub profile: Option<PathBuf>,

    /// A folder with chips.toml, macs.toml, prices.toml or models.json that add to or override the built-in data
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = data_dir::VARIABLE,
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub data_dir: Option<PathBuf>,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Describe this machine: chip, memory, bandwidth, GPU limit, power state
    Probe(ProbeArgs),
    /// Which quantisations of a model run on a Mac, how fast, with how much context
    Recommend(RecommendArgs),
    /// Speed, memory and maximum context of one model on one Mac, in full
    Predict(PredictArgs),
    /// Models side by side on several Macs, or which Mac to buy for them
    Compare(super::plan_args::CompareArgs),
    /// Whether the workloads of a plan file will hold on their Macs
    Check(super::plan_args::CheckArgs),
    /// A self-contained HTML page with tables and plots, or one plot as SVG or PNG
    Report(super::plan_args::ReportArgs),
    /// Exact sizes of a model and the traffic of a decode step
    Inspect(InspectArgs),
    /// Look up models in the catalogue
    Models(ModelsArgs),
    /// Look up Macs, their bins and prices in the catalogue
    Macs(MacsArgs),
    /// Time MLX's kernels on this machine and store a profile that predictions use
    Calibrate(CalibrateArgs),
    /// How far predictions lie from measurements
    Validate(ValidateArgs),
    /// Measure the speed and memory of a running server, or of two against each other
    Bench(Box<BenchArgs>),
    /// Judge claimed measurements against physical bounds, exact model sizes and sound method
    Audit(AuditArgs),
    /// Diagnosis for a bug report: versions, data, this machine
    Doctor,
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// Arguments of `calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Take at most 20 seconds instead of 60, with fewer formats of weights
    #[arg(long)]
    pub quick: bool,

    /// List the stored profiles instead of timing
    #[arg(long, conflicts_with_all = ["quick", "compare"])]
    pub list: bool,

    /// Compare two stored profiles instead of timing
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    pub compare: Option<Vec<PathBuf>>,

    /// Write the profile to this folder instead of the user's
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
}

fn minutes(text: &str) -> Result<f64, String> {
    let good = |m: &f64| m.is_finite() && *m > 0.0 && *m <= 1440.0;
    text.parse().ok().filter(good).ok_or_else(|| "minutes, above 0 and up to 1440".to_owned())
}

/// Models that are run on this machine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run on this machine")]
pub struct LiveArgs {
    /// Predict this model's speed, then run it in this process: a folder with weights, or any model with --random-weights
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,

    /// Quantisation of the model
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
    #[arg(long, value_name = "N", default_value_t = 8.0, value_parser = minutes)]
    pub minutes: f64,

    /// Tokens in the cache when generation starts [default: 0,512,2048, for --suite those of the ladder]
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(..=1_048_576))]
    pub depths: Vec<u32>,

    /// Most rounds in which prediction and run take turns
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(3..=1000))]
    pub rounds: u32,

    /// Run even when more memory is needed than there is
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `probe`.
#[derive(Debug, Default, Args)]
pub struct ProbeArgs {
    /// Show where each value comes from
    #[arg(long)]
    pub explain: bool,

    /// Interpret the recorded output of sysctl, ioreg, system_profiler, pmset or mx.device_info in a file ("-" for
    /// standard input) instead of reading this machine
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

/// The machine to plan for.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineArgs {
    /// A Mac: "this", a chip bin and memory (m4max-40/128, "M4 Max 40-core 128GB"), a product id or a model identifier
    #[arg(add = ArgValueCompleter::new(super::completions::macs), long, value_name = "MAC", conflicts_with_all = ["bandwidth", "gpu_cores", "memory"])]
    pub mac: Option<String>,

    /// Memory bandwidth in GB/s of a machine that is not in the catalogue
    #[arg(long, value_name = "GB/S", requires_all = ["gpu_cores", "memory"])]
    pub bandwidth: Option<f64>,

    /// GPU cores of that machine
    #[arg(long, value_name = "N", requires = "bandwidth")]
    pub gpu_cores: Option<u32>,

    /// Memory of that machine in GiB
    #[arg(long, value_name = "GIB", requires = "bandwidth")]
    pub memory: Option<u64>,
}

impl MachineArgs {
    /// Whether the machine that mlxplan runs on is meant.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.bandwidth.is_none()
            && self.mac.as_deref().is_none_or(|m| m.eq_ignore_ascii_case("this"))
    }
}

/// The run to plan for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Tokens in the cache when generation starts (the prompt)
    #[arg(long, value_name = "TOKENS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub context: u32,

    /// Tokens generated
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub generate: u32,

    /// Sequences processed together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub batch: u32,

    /// Bits of a quantised KV cache: 4 or 8 (also 2, 3, 5, 6)
    #[arg(long, value_name = "BITS")]
    pub kv_bits: Option<u32>,

    /// Tokens of a prefill chunk (mlx-lm's --prefill-step-size)
    #[arg(long, value_name = "TOKENS", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub prefill_step: u32,

    /// Memory kept for macOS and other programs, in GB (default: 8 GiB or 1/16 of the memory, whichever is more, and
    /// no more than a quarter)
    #[arg(long, value_name = "GB")]
    pub reserve: Option<f64>,

    /// A GPU memory limit that was set: 60GB, 58GiB, 49152MiB (default: the one of the Mac; this Mac's is read)
    #[arg(long, value_name = "SIZE")]
    pub gpu_limit: Option<Bytes>,

    /// Memory meant for this, of all that the Mac has: 24GB
    #[arg(long, value_name = "SIZE")]
    pub budget_memory: Option<Bytes>,
}

impl Default for RunArgs {
    fn default() -> Self {
        let run = crate::run::Run::default();
        Self {
            context: run.work.context_tokens,
            generate: run.work.generate_tokens,
            batch: run.work.batch,
            kv_bits: None,
            prefill_step: run.engine.prefill_step,
            reserve: None,
            gpu_limit: None,
            budget_memory: None,
        }
    }
}

/// Models that `recommend` lists, unless told otherwise.
const MODELS: u32 = 8;

/// Arguments of `recommend`.
#[derive(Debug, Args)]
pub struct RecommendArgs {
    /// A model or a size class: qwen3-32b-4bit, 32B-4bit, 30B-A3B, a folder, a .gguf file, hf:org/name; without it,
    /// the best choices for this Mac by size
    #[arg(add = ArgValueCompleter::new(super::completions::models), long, value_name = "MODEL")]
    pub model: Option<String>,

    /// Quantisation: bf16, fp16, 2bit … 8bit (with -g32, -g64, -g128), mxfp4, nvfp4, mxfp8, mixed_3_6 …, mxfp4_q8
    #[arg(long, value_name = "QUANT")]
    pub quant: Option<String>,

    /// Models listed at most
    #[arg(long, value_name = "N", default_value_t = MODELS, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub limit: u32,

    /// The machine.
    #[command(flatten)]
    pub machine: MachineArgs,

    /// The run.
    #[command(flatten)]
    pub run: RunArgs,
}

impl Default for RecommendArgs {
    fn default() -> Self {
        Self {
            model: None,
            quant: None,
            limit: MODELS,
            machine: MachineArgs::default(),
            run: RunArgs::default(),
        }
    }
}

/// Arguments of `predict`.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// A model: catalogue name (qwen3-32b-4bit), folder, config.json, .gguf file, hf:org/name
    #[arg(add = ArgValueCompleter::new(super::completions::models), long, value_name = "MODEL", required = true)]
    pub model: String,

    /// Quantisation, where the name does not say
    #[arg(long, value_name = "QUANT")]
    pub quant: Option<String>,

    /// Engine: mlx, llama.cpp or ollama
    #[arg(long, value_name = "ENGINE", default_value = "mlx")]
    pub engine: String,

    /// Also the speed at these cache lengths, comma separated
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(0..=16_777_216))]
    pub depths: Vec<u32>,

    /// Print every term and byte with its rule and source
    #[arg(long)]
    pub explain: bool,

    /// Time this model's own layers here first, with random weights
    #[arg(long)]
    pub time_layers: bool,

    /// With --time-layers, time them even when they need more memory than there is
    #[arg(long, requires = "time_layers")]
    pub force: bool,

    /// Read an unknown model_type as if it were this one
    #[arg(long, value_name = "MODEL_TYPE")]
    pub assume: Option<String>,

    /// The machine.
    #[command(flatten)]
    pub machine: MachineArgs,

    /// The run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A model: catalogue name, folder, config.json, .gguf file, hf:org/name
    #[arg(add = ArgValueCompleter::new(super::completions::models), value_name = "MODEL")]
    pub model: String,

    /// Quantisation, where the name or the files do not say
    #[arg(long, value_name = "QUANT")]
    pub quant: Option<String>,

    /// Cache sizes after these numbers of tokens, comma separated
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_values_t = [1u32, 512, 4096, 8192], value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub tokens: Vec<u32>,

    /// Bits of a quantised KV cache
    #[arg(long, value_name = "BITS")]
    pub kv_bits: Option<u32>,

    /// List every tensor
    #[arg(long)]
    pub tensors: bool,

    /// List every operation of one decode step
    #[arg(long)]
    pub ops: bool,

    /// Read an unknown model_type as if it were this one
    #[arg(long, value_name = "MODEL_TYPE")]
    pub assume: Option<String>,
}

/// Arguments of `models`.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// Words that the name, family or size class must contain
    #[arg(value_name = "WORDS")]
    pub words: Vec<String>,

    /// List the model families (model_type) instead
    #[arg(long)]
    pub families: bool,

    /// List the models found in the Hugging Face and LM Studio caches instead
    #[arg(long, conflicts_with = "families")]
    pub local: bool,
}

/// Arguments of `macs`.
#[derive(Debug, Args)]
pub struct MacsArgs {
    /// Words that the product, chip or identifier must contain
    #[arg(value_name = "WORDS")]
    pub words: Vec<String>,

    /// List the chip bins instead of the products
    #[arg(long)]
    pub chips: bool,
}

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Recorded measurements: a CSV file with the columns of data/measurements.csv; without it, the published ones that
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

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// A claims file (.toml, see examples/), a result of mlxplan bench (.json), or measurements with the columns of
    /// data/measurements.csv (.csv)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The machine of claims that name none
    #[arg(add = ArgValueCompleter::new(super::completions::macs), long, value_name = "MAC")]
    pub mac: Option<String>,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}
