//! What the user typed: the commands, each with its own arguments, and the flags of all.

use super::audit::AuditArgs;
use super::bench::args::BenchArgs;
use super::calibrate::args::CalibrateArgs;
use super::check::CheckArgs;
use super::compare::args::CompareArgs;
use super::completions::CompletionsArgs;
use super::finetune::args::FinetuneArgs;
use super::inspect::args::InspectArgs;
use super::macs::MacsArgs;
use super::models::ModelsArgs;
use super::predict::args::PredictArgs;
use super::probe::ProbeArgs;
use super::recommend::args::RecommendArgs;
use super::report::args::ReportArgs;
use super::shared::global::Global;
use super::update::UpdateArgs;
use super::validate::args::ValidateArgs;
use super::why::args::WhyArgs;
use clap::{Parser, Subcommand};

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

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Describe this machine: chip, memory, bandwidth, GPU limit, power state
    Probe(ProbeArgs),
    /// Which quantizations of a model run on a Mac, how fast, with how much context
    Recommend(RecommendArgs),
    /// Speed, memory and maximum context of one model on one Mac, in full
    Predict(PredictArgs),
    /// What explains that a run is slower, or faster, than predicted
    Why(Box<WhyArgs>),
    /// Models side by side on several Macs, or which Mac to buy for them
    Compare(CompareArgs),
    /// Memory and speed of fine-tuning with mlx_lm.lora: LoRA, QLoRA, DoRA, full
    Finetune(FinetuneArgs),
    /// Whether the workloads of a plan file will hold on their Macs
    Check(CheckArgs),
    /// A self-contained HTML page with tables and plots, or one plot as SVG or PNG
    Report(ReportArgs),
    /// Exact sizes of a model and the traffic of a decode step
    Inspect(InspectArgs),
    /// Look up models in the catalog
    Models(ModelsArgs),
    /// Read popular models of the hub into your data folder, so that their names are known
    Update(UpdateArgs),
    /// Look up Macs, their bins and prices in the catalog
    Macs(MacsArgs),
    /// Time MLX's kernels on this machine and store a profile that predictions use
    Calibrate(CalibrateArgs),
    /// How far predictions lie from measurements
    Validate(ValidateArgs),
    /// Measure the speed and memory of a running server, or of two against each other
    Bench(Box<BenchArgs>),
    /// Judge claimed measurements against physical bounds, exact model sizes and sound method
    Audit(AuditArgs),
    /// The planner as tools of an agent, over standard input and output (Model Context Protocol)
    #[cfg(feature = "mcp")]
    Mcp,
    /// Diagnosis for a bug report: versions, data, this machine
    Doctor,
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}
