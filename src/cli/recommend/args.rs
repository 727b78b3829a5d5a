//! Arguments of `recommend`.

use super::users::args::UsersArgs;
use crate::advise::use_case::UseCase;
use crate::cli::shared::draft_args::DraftArgs;
use crate::cli::shared::machine_args::MachineArgs;
use crate::cli::shared::names;
use crate::cli::shared::numbers::whole;
use crate::cli::shared::run_args::StatedRun;
use crate::run::Program;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

/// Models that `recommend` lists, unless told otherwise.
const MODELS: u32 = 8;

/// A program whose settings are asked for.
fn engine(text: &str) -> Result<Program, String> {
    let listed = text.parse::<Program>().ok().filter(|p| p.listed_name().is_some());
    listed.ok_or_else(|| {
        let names: Vec<String> = Program::ALL.iter().map(ToString::to_string).collect();
        format!("choose from {}", names.join(", "))
    })
}

/// A loss in percent.
fn loss(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(x) if (0.0..=1000.0).contains(&x) => Ok(x),
        _ => Err("a number of percent from 0 to 1000".to_owned()),
    }
}

/// Arguments of `recommend`.
#[derive(Debug, Args)]
pub struct RecommendArgs {
    /// A model or a size class: qwen3-32b-4bit, 32B-4bit, 30B-A3B, a folder, a .gguf file, hf:org/name; without it,
    /// the best choices for this Mac by size
    #[arg(add = ArgValueCompleter::new(names::models), long, value_name = "MODEL")]
    pub model: Option<String>,

    /// Quantization: bf16, fp16, 2bit … 8bit (with -g32, -g64, -g128), mxfp4, nvfp4, mxfp8, mixed_3_6 …, mxfp4_q8
    #[arg(long, value_name = "QUANT")]
    pub quant: Option<String>,

    /// Without --model: what the model is for: chat, code, agent, vision, long-context; it sets prompt, output and images
    /// where they are not given, and the speed that is wanted
    #[arg(long, value_name = "TASK", conflicts_with = "model")]
    pub task: Option<UseCase>,

    /// Leave out formats that lose more than this, in percent: how much perplexity rises, or which share of a benchmark's
    /// score is lost, as published; formats that nobody measured at this size are left out too
    #[arg(long, value_name = "PERCENT", value_parser = loss)]
    pub max_loss: Option<f64>,

    /// End with the settings of this engine, as the command that starts it or its file of settings: any program of --engine
    #[arg(long = "for", value_name = "ENGINE", value_parser = engine)]
    pub engine_for: Option<Program>,

    /// Models listed at most
    #[arg(long, value_name = "N", default_value_t = MODELS, value_parser = |s: &str| whole::<u32>(s, 1..=200))]
    pub limit: u32,

    /// Several users at once.
    #[command(flatten)]
    pub users: UsersArgs,

    /// Drafts.
    #[command(flatten)]
    pub drafts: DraftArgs,

    /// The machine.
    #[command(flatten)]
    pub machine: MachineArgs,

    /// The run.
    #[command(flatten)]
    pub run: StatedRun,
}

impl Default for RecommendArgs {
    fn default() -> Self {
        Self {
            model: None,
            quant: None,
            task: None,
            max_loss: None,
            engine_for: None,
            limit: MODELS,
            users: UsersArgs::default(),
            drafts: DraftArgs::default(),
            machine: MachineArgs::default(),
            run: StatedRun::default(),
        }
    }
}
